package sock_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"

	"yodel/sock"
)

// The lecture's conversation: a server that sends each line back in upper case, and
// a client that sends one.
func Example() {
	listenfd, err := sock.OpenListenFD(0) // 15213 in the lecture; 0 takes a free port
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listenfd.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		serveOne(listenfd)
	}()

	port := listenfd.Addr().(*net.TCPAddr).Port
	clientfd, err := sock.OpenClientFD("localhost", port)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Fprintln(clientfd, "hello there")
	line, _ := bufio.NewReader(clientfd).ReadString('\n')
	fmt.Print("echo:", line)
	clientfd.Close()
	<-done
	// Output:
	// server received 12 bytes
	// echo:HELLO THERE
	// Connection closed
}

func serveOne(listenfd net.Listener) {
	connfd, err := listenfd.Accept()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer connfd.Close()
	lines := bufio.NewReader(connfd)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		fmt.Println("server received", len(line), "bytes")
		fmt.Fprint(connfd, strings.ToUpper(line))
	}
	fmt.Println("Connection closed")
}

func ExampleOpenListenFD() {
	listenfd, err := sock.OpenListenFD(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listenfd.Close()
	a := listenfd.Addr().(*net.TCPAddr)
	fmt.Println("all interfaces:", a.IP.IsUnspecified(), "- a port was found:", a.Port != 0)
	_, err = sock.OpenListenFD(a.Port)
	fmt.Println("a second time:", err != nil)
	_, err = sock.OpenListenFD(65536)
	fmt.Println(err)
	// Output:
	// all interfaces: true - a port was found: true
	// a second time: true
	// port 65536 is out of range: ports are numbers of 16 bits, 0 to 65535
}

// A failed name and a failed connect are different errors.
func ExampleOpenClientFD() {
	_, err := sock.OpenClientFD("no_such..host", 7)
	_, isName := err.(*sock.ResolveError)
	fmt.Println("the name failed:", isName)

	listenfd, err := sock.OpenListenFD(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer listenfd.Close()
	clientfd, err := sock.OpenClientFD("127.0.0.1", listenfd.Addr().(*net.TCPAddr).Port)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer clientfd.Close()
	ephemeral := clientfd.LocalAddr().(*net.TCPAddr).Port // nobody listens there
	_, err = sock.OpenClientFD("127.0.0.1", ephemeral)
	refused, isConnect := err.(*sock.ConnectError)
	fmt.Println("connect failed:", isConnect, "- refused:", isConnect && refused.Refused())
	// Output:
	// the name failed: true
	// connect failed: true - refused: true
}

// A server shows a certificate that it made itself; the client knows its
// fingerprint and accepts no other.
func ExamplePinConfig() {
	ctx := context.Background()
	l, err := sock.Listen(ctx, sock.Address{Network: "tls", Host: "127.0.0.1"}, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintln(c, "hello there")
		c.Close()
	}()

	pin, err := sock.PinConfig(l.Fingerprint())
	if err != nil {
		fmt.Println(err)
		return
	}
	c, err := sock.Dial(ctx, l.Address(), &sock.Options{TLS: pin})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	line, _ := bufio.NewReader(c).ReadString('\n')
	fmt.Print(c.Network(), ": ", line)
	// Output:
	// tls: hello there
}
