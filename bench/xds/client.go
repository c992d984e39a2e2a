package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	typeurls "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
	// serverName is what the server's certificate is for.
	serverName = "xds.bench"
	waitMax    = 2 * time.Minute
	// As many connections are opened at once: fewer than any listener's backlog.
	openingMax = 64
	// Envoy's defaults. They also keep grpc-go from measuring the bandwidth with pings, which Envoy does not do.
	streamWindowBytes     = 16 << 20
	connectionWindowBytes = 24 << 20
	readBufferBytes       = 16 << 10
)

// Fields of DeltaDiscoveryRequest, DeltaDiscoveryResponse and Node.
const (
	requestNode, requestTypeURL, requestSubscribe, requestNonce = 1, 2, 3, 6
	responseResources, responseNonce                            = 2, 5
	nodeID                                                      = 1
)

// A tally notes when each stream was answered. Every stream is to be answered once, with `expected` resources.
type tally struct {
	mutex    sync.Mutex
	left     int
	expected int
	lastNs   int64
	done     chan struct{}
}

func (of *tally) begin(streams, expected int) {
	of.mutex.Lock()
	defer of.mutex.Unlock()
	of.left, of.expected, of.done = streams, expected, make(chan struct{})
}

func (of *tally) note(resources int) {
	atNs := nowNs()
	of.mutex.Lock()
	defer of.mutex.Unlock()
	if of.left == 0 || resources != of.expected {
		fail(fmt.Errorf("a response with %d resources where %d streams wait for %d", resources, of.left, of.expected))
	}
	of.lastNs = atNs
	if of.left--; of.left == 0 {
		close(of.done)
	}
}

func (of *tally) await() answer {
	select {
	case <-of.done:
		return answer{"lastNs": of.lastNs}
	case <-time.After(waitMax):
		fail(fmt.Errorf("%d streams were not answered", of.left))
		return nil
	}
}

// runClient speaks Delta ADS. It acknowledges each response, and reads of it no more than
// that takes, so as to leave the machine to the server.
func runClient() func(order) answer {
	var connections []*grpc.ClientConn
	var streams int
	answered := &tally{}
	return func(given order) answer {
		switch given.Op {
		case "connect":
			connections = connect(given)
			return answer{}
		case "subscribe":
			streams = given.Streams
			answered.begin(streams, given.Expected)
			startedNs := nowNs()
			for index := range streams {
				go follow(connections[index%len(connections)], fmt.Sprintf("%s-%d", given.Names, index), answered)
			}
			return answer{"startedNs": startedNs}
		case "expect":
			answered.begin(streams, given.Expected)
			return answer{}
		case "await":
			return answered.await()
		case "close":
			for _, connection := range connections {
				must(connection.Close())
			}
			connections = nil
			return answer{}
		}
		panic(fmt.Sprintf("no order for a client: %q", given.Op))
	}
}

func connect(given order) []*grpc.ClientConn {
	options := []grpc.DialOption{
		grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(streamWindowBytes),
		grpc.WithInitialConnWindowSize(connectionWindowBytes),
		grpc.WithReadBufferSize(readBufferBytes),
		grpc.WithSharedWriteBuffer(true),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})),
		grpc.WithTransportCredentials(credentialsOf(given.TLS)),
	}
	connections := make([]*grpc.ClientConn, given.Connections)
	opening := make(chan struct{}, openingMax)
	var opened sync.WaitGroup
	limited, cancel := context.WithTimeout(context.Background(), waitMax)
	defer cancel()
	for index := range connections {
		connections[index] = need(grpc.NewClient("passthrough:///"+given.Address, options...))
		opening <- struct{}{}
		opened.Go(func() {
			awaitReady(limited, connections[index])
			<-opening
		})
	}
	opened.Wait()
	return connections
}

func awaitReady(limited context.Context, connection *grpc.ClientConn) {
	connection.Connect()
	for state := connection.GetState(); state != connectivity.Ready; state = connection.GetState() {
		if !connection.WaitForStateChange(limited, state) {
			fail(fmt.Errorf("a connection was not opened: %w", limited.Err()))
		}
	}
}

func credentialsOf(tlsIdentity *identity) credentials.TransportCredentials {
	if tlsIdentity == nil {
		return insecure.NewCredentials()
	}
	return credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{tlsIdentity.certificate()},
		RootCAs:      tlsIdentity.trusted(),
		ServerName:   serverName,
	})
}

// follow opens a stream, asks for all clusters, and acknowledges what comes until the connection is closed.
func follow(connection *grpc.ClientConn, node string, answered *tally) {
	stream := need(connection.NewStream(context.Background(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method))
	must(stream.SendMsg(firstRequest(node)))
	for {
		var response []byte
		if stream.RecvMsg(&response) != nil {
			if connection.GetState() != connectivity.Shutdown {
				fail(fmt.Errorf("the stream of %s was ended", node))
			}
			return
		}
		resources, nonce := readResponse(response)
		// Noted first: the acknowledgement may bring the next response.
		answered.note(resources)
		if stream.SendMsg(acknowledgement(nonce)) != nil {
			return
		}
	}
}

func firstRequest(node string) []byte {
	request := appendString(nil, requestTypeURL, typeurls.ClusterType)
	request = appendString(request, requestSubscribe, "*")
	return appendString(request, requestNode, string(appendString(nil, nodeID, node)))
}

func acknowledgement(nonce string) []byte {
	return appendString(appendString(nil, requestTypeURL, typeurls.ClusterType), requestNonce, nonce)
}

func appendString(message []byte, field protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(message, field, protowire.BytesType), value)
}

func readResponse(message []byte) (resources int, nonce string) {
	for len(message) > 0 {
		field, kind, length := protowire.ConsumeTag(message)
		must(protowire.ParseError(length))
		message = message[length:]
		length = protowire.ConsumeFieldValue(field, kind, message)
		must(protowire.ParseError(length))
		switch field {
		case responseResources:
			resources++
		case responseNonce:
			nonce, _ = protowire.ConsumeString(message)
		}
		message = message[length:]
	}
	return resources, nonce
}

// bytesCodec takes messages as they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

func (bytesCodec) Name() string { return "proto" }
