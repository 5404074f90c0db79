package sock_test

import (
	"fmt"
	"net/netip"

	"yodel/sock"
)

func ExampleParseAddress() {
	for _, word := range []string{"15213", ":7", "tls://[::1]:7007", "unix:/run/echo.sock", "localhost"} {
		a, err := sock.ParseAddress(word)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(a, a.Network, a.Loopback())
	}
	// Output:
	// localhost:15213 tcp true
	// :7 tcp false
	// tls://[::1]:7007 tls true
	// unix:/run/echo.sock unix true
	// address "localhost": it names no port; write localhost:PORT
}

func ExamplePair() {
	fmt.Println(sock.Pair{
		Client: netip.MustParseAddrPort("128.2.194.242:51213"),
		Server: netip.MustParseAddrPort("208.216.181.15:80"),
	})
	// Output: (128.2.194.242:51213, 208.216.181.15:80)
}

func ExampleNetworkBytes() {
	fmt.Printf("% x\n", sock.NetworkBytes(netip.MustParseAddr("128.2.217.13")))
	fmt.Printf("% x\n", sock.NetworkPort(80))
	// Output:
	// 80 02 d9 0d
	// 00 50
}
