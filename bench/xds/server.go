package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	typeurls "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/proto"
)

// A store is a cache, and how resources are put into it.
type store struct {
	cache cache.Cache
	set   func(map[string]types.Resource)
}

const sharedKey = "shared"

// sharedHash has all nodes share one snapshot, which is what costs the snapshot cache least.
type sharedHash struct{}

func (sharedHash) ID(*corev3.Node) string { return sharedKey }

func newSnapshotStore() store {
	snapshots := cache.NewSnapshotCache(true, sharedHash{}, nil)
	all := map[string]types.Resource{}
	version := 0
	return store{snapshots, func(changed map[string]types.Resource) {
		maps.Copy(all, changed)
		version++
		snapshot := need(cache.NewSnapshot(strconv.Itoa(version), map[typeurls.Type][]types.Resource{typeurls.ClusterType: slices.Collect(maps.Values(all))}))
		must(snapshots.SetSnapshot(context.Background(), sharedKey, snapshot))
	}}
}

func newLinearStore() store {
	linear := cache.NewLinearCache(typeurls.ClusterType)
	return store{linear, func(changed map[string]types.Resource) { must(linear.UpdateResources(changed, nil)) }}
}

// A requestCount lets one wait until so many requests have come.
type requestCount struct {
	mutex   sync.Mutex
	changed *sync.Cond
	count   int64
	awaited int64
}

func newRequestCount() *requestCount {
	requests := &requestCount{}
	requests.changed = sync.NewCond(&requests.mutex)
	return requests
}

func (requests *requestCount) add() {
	requests.mutex.Lock()
	defer requests.mutex.Unlock()
	requests.count++
	if requests.count == requests.awaited {
		requests.changed.Broadcast()
	}
}

func (requests *requestCount) await(count int64) {
	requests.mutex.Lock()
	defer requests.mutex.Unlock()
	requests.awaited = count
	for requests.count < count {
		requests.changed.Wait()
	}
}

func serve(newStore func() store) func(order) answer {
	held := newStore()
	requests := newRequestCount()
	return func(given order) answer {
		switch given.Op {
		case "listen":
			return answer{"port": listen(held.cache, requests, given.TLS)}
		case "set":
			changed := map[string]types.Resource{}
			for _, each := range given.Resources {
				cluster := &clusterv3.Cluster{}
				must(proto.Unmarshal(each.Value, cluster))
				changed[each.Name] = cluster
			}
			atNs := nowNs()
			held.set(changed)
			return answer{"atNs": atNs}
		case "usage":
			requests.await(given.Requests)
			var used unix.Rusage
			must(unix.Getrusage(unix.RUSAGE_SELF, &used))
			return answer{"cpuUs": (used.Utime.Nano() + used.Stime.Nano()) / 1000}
		}
		panic(fmt.Sprintf("no order for a server: %q", given.Op))
	}
}

func listen(served cache.Cache, requests *requestCount, tlsIdentity *identity) int {
	callbacks := server.CallbackFuncs{StreamDeltaRequestFunc: func(int64, *discovery.DeltaDiscoveryRequest) error {
		requests.add()
		return nil
	}}
	var options []grpc.ServerOption
	if tlsIdentity != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{
			Certificates: []tls.Certificate{tlsIdentity.certificate()},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    tlsIdentity.trusted(),
		})))
	}
	grpcServer := grpc.NewServer(options...)
	discovery.RegisterAggregatedDiscoveryServiceServer(grpcServer, server.NewServer(context.Background(), served, callbacks))
	listener := need(net.Listen("tcp", "127.0.0.1:0"))
	go func() { must(grpcServer.Serve(listener)) }()
	return listener.Addr().(*net.TCPAddr).Port
}

func (of identity) certificate() tls.Certificate {
	return need(tls.X509KeyPair([]byte(of.CertificateChainPem), []byte(of.PrivateKeyPem)))
}

func (of identity) trusted() *x509.CertPool {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(of.TrustBundlePem)) {
		fail(fmt.Errorf("no certificate in the trust bundle"))
	}
	return pool
}
