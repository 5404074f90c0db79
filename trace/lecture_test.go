package trace

import (
	"net/netip"
	"strings"
	"testing"
)

// To the letter, as the lecture's program prints them.
func TestLectureLog(t *testing.T) {
	var got strings.Builder
	l := NewLectureLog(&got)
	peer := netip.MustParseAddrPort("128.2.213.29:64690")
	l.Emit(&Event{Op: Accept, Remote: peer, Name: "BRYANT-TP4.VLSI.CS.CMU.EDU"})
	l.Emit(&Event{Op: Message, Bytes: 12})
	l.Emit(&Event{Op: Accept, Remote: peer})
	l.Emit(&Event{Op: Accept, Remote: peer, Name: "evil\x1b[2J\nname"})
	l.Emit(&Event{Op: Read, Bytes: 5})
	l.Emit(&Event{Op: Close})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	want := `server connected to BRYANT-TP4.VLSI.CS.CMU.EDU (128.2.213.29), port 64690
server received 12 bytes
server connected to 128.2.213.29 (128.2.213.29), port 64690
server connected to evil\x1b[2J\nname (128.2.213.29), port 64690
`
	if got.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", got.String(), want)
	}
}
