// Command xds is the Go half of bench/xds.ts: go-control-plane as a server, and the client of all servers.
//
//	xds snapshot   a server over the snapshot cache
//	xds linear     a server over the linear cache
//	xds client     opens streams, and says when each has been answered
//
// It takes orders as lines of JSON on its standard input, answers each with one line, and ends with its input, or after a time
// limit whatever happens.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const lifetimeMax = time.Hour

// orderBytesMax is of one line: a hundred clusters in base64 are far below.
const orderBytesMax = 64 << 20

// An identity is a certificate chain, its key, and what the other side's certificate must lead to; all in PEM.
type identity struct {
	CertificateChainPem string `json:"certificateChainPem"`
	PrivateKeyPem       string `json:"privateKeyPem"`
	TrustBundlePem      string `json:"trustBundlePem"`
}

type resource struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// An order is one of orders.ts; which fields it has follows from Op.
type order struct {
	Op          string     `json:"op"`
	TLS         *identity  `json:"tls"`
	Resources   []resource `json:"resources"`
	Requests    int64      `json:"requests"`
	Address     string     `json:"address"`
	Connections int        `json:"connections"`
	Streams     int        `json:"streams"`
	Names       string     `json:"names"`
	Expected    int        `json:"expected"`
}

type answer map[string]any

func main() {
	time.AfterFunc(lifetimeMax, func() { fail(fmt.Errorf("still there after %v", lifetimeMax)) })
	obey := map[string]func() func(order) answer{
		"snapshot": func() func(order) answer { return serve(newSnapshotStore) },
		"linear":   func() func(order) answer { return serve(newLinearStore) },
		"client":   runClient,
	}[os.Args[1]]()
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, orderBytesMax)
	answers := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var given order
		must(json.Unmarshal(lines.Bytes(), &given))
		must(answers.Encode(obey(given)))
	}
}

// nowNs reads the clock that all processes of a machine share.
func nowNs() int64 {
	var now unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return now.Nano()
}

func must(err error) {
	if err != nil {
		fail(err)
	}
}

func need[T any](value T, err error) T {
	must(err)
	return value
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench/xds:", err)
	os.Exit(1)
}
