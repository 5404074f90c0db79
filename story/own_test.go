package story_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"yodel/story"
	"yodel/watch/pcap"
)

// A capture by yodel shows a SYN if it can prove that it was for its user's socket. So one that is
// not in the server's has perhaps come all the same; the client's shows what its user has sent.
func TestSYNThatIsNotShown(t *testing.T) {
	t.Parallel()
	a, b := captures(func(x *scene) {
		x.lose(c, 0, syn, 0).again(c, 1000, syn, 0, true).send(s, 1001.1, syn|ack, 0).send(c, 1002.2, ack, 0)
		x.send(c, 1003, psh|ack, 10).send(s, 1005, psh|ack, 20).close(1007)
	}, nil)
	if one := of(t, tell(t, byYodel(t, a), b)); one.Verdict != story.NetworkThere {
		t.Errorf("the client's by yodel: verdict %q (%s)", one.Verdict, one.Why)
	}
	one := of(t, tell(t, a, byYodel(t, b)))
	if one.Verdict != story.CannotTell || !strings.Contains(one.Why, "a SYN may have come") || !strings.Contains(strings.Join(one.ToTell, ""), "tcpdump") {
		t.Errorf("the server's by yodel: verdict %q (%s), to tell %q", one.Verdict, one.Why, one.ToTell)
	}
	whole(t, one)
}

// byYodel returns a capture as yodel would have written it.
func byYodel(t *testing.T, file []byte) []byte {
	t.Helper()
	r, err := pcap.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w := pcap.NewWriter(&out, &pcap.Section{Application: "yodel"})
	number := -1
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if number < 0 {
			if number, err = w.AddInterface(p.Interface); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.WritePacket(number, p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
