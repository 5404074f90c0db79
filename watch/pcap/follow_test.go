package pcap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"yodel/watch/pcap"
)

// growing is a file on which somebody still writes.
type growing struct {
	mu   sync.Mutex
	data []byte
	at   int
}

func (g *growing) Read(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := copy(p, g.data[g.at:])
	g.at += n
	if g.at == len(g.data) {
		return n, io.EOF // with the last bytes, as some readers do
	}
	return n, nil
}

func (g *growing) write(b []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.data = append(g.data, b...)
}

// Whoever follows a file gets each packet once it is whole, and the end when nobody
// wants more.
func TestFollow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := orders[0]
		file := new(growing)
		ctx, cancel := context.WithCancel(t.Context())
		read := make(chan string)
		go func() {
			defer close(read)
			r, err := pcap.NewReader(pcap.Follow(ctx, file, 0))
			if err != nil {
				t.Error(err)
				return
			}
			for {
				p, err := r.Next()
				if err != nil {
					if _, cut := errors.AsType[*pcap.TruncatedError](err); !cut {
						t.Errorf("at the end: %v", err)
					}
					return
				}
				read <- string(p.Data)
			}
		}()
		began := time.Now()
		for _, part := range [][]byte{section(o)[:2], section(o)[2:], slices.Concat(device(o, 1), enhanced(o, 0, 1, "one"))} {
			time.Sleep(time.Second)
			file.write(part)
		}
		if got := <-read; got != "one" || time.Since(began) > 3*time.Second+pcap.DefaultPoll {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		second := enhanced(o, 0, 2, "two!")
		file.write(second[:30])
		time.Sleep(time.Minute)
		synctest.Wait()
		select {
		case got := <-read:
			t.Errorf("%q came of half a packet", got)
		default:
		}
		file.write(second[30:])
		if got := <-read; got != "two!" {
			t.Errorf("%q", got)
		}
		file.write(second[:30])
		time.Sleep(time.Second)
		cancel()
		if got, more := <-read; more {
			t.Errorf("%q came after the end", got)
		}
	})
}

func TestFollowPassesErrorsOn(t *testing.T) {
	t.Parallel()
	broken := errors.New("the disk is gone")
	in := pcap.Follow(t.Context(), io.MultiReader(bytes.NewReader([]byte("abc")), iotest.ErrReader(broken)), time.Hour)
	got, err := io.ReadAll(in)
	if string(got) != "abc" || !errors.Is(err, broken) {
		t.Errorf("%q, %v", got, err)
	}
	if n, err := in.Read(nil); n != 0 || err == nil && n > 0 {
		t.Errorf("%d, %v", n, err)
	}
}
