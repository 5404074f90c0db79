package engine

import (
	"net/netip"
	"testing"
	"unsafe"

	"yodel"
)

// What a Pair was made of is what it sets.
func TestPair(t *testing.T) {
	t.Parallel()
	for _, tt := range [][2]string{
		{"127.0.0.1:7", "127.0.0.1:40000"},
		{"[::1]:7", "[2001:db8::1]:40000"},
		{"[fe80::1]:65535", "[fe80::2%3]:1"},
	} {
		want := yodel.Peer{Network: "tcp", Local: netip.MustParseAddrPort(tt[0]), Remote: netip.MustParseAddrPort(tt[1])}
		got := yodel.Peer{Network: "tcp"}
		p := PairOf(&want)
		if p.SetIn(&got); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	for _, want := range []yodel.Peer{{Network: "unix", Path: "/run/x"}, {Network: "tcp"}} {
		got := want
		p := PairOf(&want)
		if p.SetIn(&got); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if n := unsafe.Sizeof(Pair{}); n != 40 {
		t.Errorf("a Pair has %d bytes", n)
	}
}
