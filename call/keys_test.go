package call

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
)

// typing is Keys whose keys the test presses, inside a bubble.
type typing struct {
	*Keys
	keyboard *io.PipeWriter
	left     []error
}

func newTyping() *typing {
	t := new(typing)
	r, w := io.Pipe()
	t.keyboard = w
	t.Keys = NewKeys(r, func(err error) { t.left = append(t.left, err) })
	return t
}

// press presses keys and waits until they have been looked at.
func (t *typing) press(keys string) {
	io.WriteString(t.keyboard, keys)
	synctest.Wait()
}

func (t *typing) end() {
	t.Close()
	t.keyboard.Close()
}

func (t *typing) read() string {
	buf := make([]byte, 100)
	n, err := t.Read(buf)
	if err != nil {
		return "error: " + err.Error()
	}
	return string(buf[:n])
}

func TestKeysPassOn(t *testing.T) {
	t.Parallel()
	all := strings.Repeat("every key but two \x00\x1b[A\x04\r\n\xff", 5000)
	got, err := io.ReadAll(NewKeys(strings.NewReader(all), func(error) { t.Error("leave was called") }))
	if string(got) != all || err != nil {
		t.Errorf("%d of %d bytes, %v", len(got), len(all), err)
	}
	_, err = io.ReadAll(NewKeys(&failAfter{10}, func(error) { t.Error("leave was called") }))
	if err != errBroken {
		t.Errorf("error %v", err)
	}
}

func TestKeysEscapeInItsTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTyping()
		defer k.end()
		go io.WriteString(k.keyboard, "hello\r\x1dmore")
		synctest.Wait()
		if got := k.read(); got != "hello\r" || len(k.left) != 0 {
			t.Errorf("read %q, left by %v, before what was typed was read", got, k.left)
		}
		for range 2 { // it stays
			if got := k.read(); got != "error: "+ErrEscape.Error() || len(k.left) != 1 || k.left[0] != ErrEscape {
				t.Errorf("read %q, left by %v", got, k.left)
			}
		}
	})
}

func TestKeysEscapeWhileNobodyReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTyping()
		defer k.end()
		go io.WriteString(k.keyboard, "question\r")
		if got := k.read(); got != "question\r" {
			t.Errorf("read %q", got)
		}
		k.press("\x1d")
		if len(k.left) != 1 || k.left[0] != ErrEscape {
			t.Errorf("left by %v", k.left)
		}
	})
}

func TestKeysEscapeTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTyping()
		defer k.end()
		go io.WriteString(k.keyboard, "first\r")
		k.read()
		k.press("typed ahead\r\x1d")
		k.press("this does not count")
		if len(k.left) != 0 {
			t.Errorf("left by %v, although text waits", k.left)
		}
		k.press("\x1d")
		if len(k.left) != 1 || k.left[0] != ErrEscape {
			t.Errorf("left by %v", k.left)
		}
		if got := k.read(); got != "error: "+ErrEscape.Error() {
			t.Errorf("read %q", got)
		}
	})
}

func TestKeysInterruptAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		k := newTyping()
		defer k.end()
		go io.WriteString(k.keyboard, "first\r")
		k.read()
		k.press("typed ahead\r\x1dx\x03")
		if len(k.left) != 1 || k.left[0] != ErrInterrupted {
			t.Errorf("left by %v", k.left)
		}
		if got := k.read(); got != "error: "+ErrInterrupted.Error() {
			t.Errorf("read %q", got)
		}
	})
}

func TestKeysAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := &counting{}
		k := NewKeys(src, func(error) {})
		k.Read(make([]byte, 1))
		synctest.Wait()
		if src.n > maxTypeAhead+2*4096 {
			t.Errorf("%d bytes were read ahead", src.n)
		}
		before := src.n
		io.ReadFull(k, make([]byte, 10_000))
		synctest.Wait()
		if src.n == before {
			t.Error("it does not go on when there is room")
		}
		k.Close()
		if _, err := k.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
	})
}

// counting is a keyboard on which something lies.
type counting struct{ n int }

func (c *counting) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

func TestKeysClosedBeforeTheyAreRead(t *testing.T) {
	t.Parallel()
	k := NewKeys(strings.NewReader("x"), func(error) {})
	k.Close()
	if _, err := k.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
}
