package trace_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"

	"yodel/trace"
)

// Any program's server leaves a trace with one line more: the second one here.
func ExampleListener() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan bool)
	l = trace.Listener(l, trace.Func(func(e *trace.Event) {
		fmt.Println("server:", e.Op)
		if e.Op == trace.Close {
			close(ended)
		}
	}))

	hello := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }
	server := &http.Server{Handler: http.HandlerFunc(hello)}
	go server.Serve(l)
	defer server.Close()

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.0\r\n\r\n")
	reply, _ := io.ReadAll(c)
	<-ended
	_, body, _ := bytes.Cut(reply, []byte("\r\n\r\n"))
	fmt.Printf("client: %s\n", body)
	// Output:
	// server: accept
	// server: read
	// server: write
	// server: close
	// client: hello
}

// A client of package net/http leaves a trace.
func ExampleDialer() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Println(err)
		return
	}
	hello := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }
	server := &http.Server{Handler: http.HandlerFunc(hello)}
	go server.Serve(l)
	defer server.Close()

	ended := make(chan bool)
	dialer := &trace.Dialer{Sink: trace.Func(func(e *trace.Event) {
		switch e.Op {
		case trace.Connect:
			fmt.Println("client:", e.Op, e.Took > 0, e.Err)
		case trace.Close:
			fmt.Println("client:", e.Op, e.In > 0, e.Out > 0)
			close(ended)
		}
	})}
	transport := &http.Transport{DialContext: dialer.DialContext}
	client := &http.Client{Transport: transport}
	resp, err := client.Get("http://" + l.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	transport.CloseIdleConnections()
	<-ended
	fmt.Printf("reply: %s\n", body)
	// Output:
	// client: connect true <nil>
	// client: close true true
	// reply: hello
}

// A trace file is written and read back.
func ExampleWriter() {
	var file bytes.Buffer
	w := trace.NewWriter(&file)
	w.Emit(&trace.Event{
		Op: trace.Read, Side: trace.Server, Time: time.Now(),
		Took: 12345 * time.Nanosecond, Bytes: 12,
	})
	w.Emit(&trace.Event{Op: trace.Close, Side: trace.Server, Text: "by \x1b[31mher\x1b[0m"})
	if err := w.Close(); err != nil {
		fmt.Println(err)
	}

	r := trace.NewReader(&file)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		fmt.Printf("%s %d bytes %v %q\n", e.Op, e.Bytes, e.Took, e.Text)
	}
	fmt.Println("version", r.Header().Version)
	// Output:
	// trace 0 bytes 0s ""
	// read 12 bytes 12.345µs ""
	// close 0 bytes 0s "by \x1b[31mher\x1b[0m"
	// version 1
}

// A log for people, with names that are looked up while the connection goes on.
func ExampleLog() {
	log := trace.NewLog(os.Stdout)
	defer log.Close()
	namer := &trace.Namer{
		Next: log,
		Lookup: func(_ context.Context, peer netip.Addr) string {
			return "bryant-tp4.vlsi.cs.cmu.edu"
		},
	}
	defer namer.Close()

	id := trace.ConnID{Run: 0x0f31c9aa, Seq: 3}
	namer.Emit(&trace.Event{
		Conn: id, Op: trace.Accept, Side: trace.Server, Service: "echo",
		Network: "tcp", Remote: netip.MustParseAddrPort("128.2.213.29:64690"),
	})
	namer.Emit(&trace.Event{
		Conn: id, Op: trace.Close, Side: trace.Server, Service: "echo",
		In: 12, Out: 12, Took: 1234 * time.Millisecond, Text: trace.EndPeer,
	})
	// Output:
	// 0f31c9aa-3 echo connected from bryant-tp4.vlsi.cs.cmu.edu (128.2.213.29), port 64690
	// 0f31c9aa-3 echo closed by peer: 12 bytes in, 12 out, 1.2 s
}
