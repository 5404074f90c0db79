package call

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/term"

	"yodel/yodeltest"
)

// The types of package term that this package meets without importing it.
var (
	_ Lines                                   = (*term.Terminal)(nil)
	_ term.History                            = (*History)(nil)
	_ interface{ SetPrompt(string) }          = (*term.Terminal)(nil)
	_ interface{ Write([]byte) (int, error) } = (*term.Terminal)(nil)
)

func TestDialogueCarriesLinesBothWays(t *testing.T) {
	t.Parallel()
	conn := pair(t, onMemory(script(t, "<220 ready\r\n", "hello\n", "<HELLO\n", "last, without newline")))
	var out bytes.Buffer
	typed := NewLines(strings.NewReader("hello\nlast, without newline"))
	if err := Dialogue(within(t), conn, typed, NewScreen(&out), nil); err != nil {
		t.Fatal(err)
	}
	if want := "220 ready\nHELLO\n"; out.String() != want {
		t.Errorf("out %q, want %q", out.String(), want)
	}
}

func TestDialogueOutputFailsAtTheEnd(t *testing.T) {
	t.Parallel()
	conn := pair(t, onMemory(script(t, "<ends within a character \xe2\x82")))
	err := Dialogue(within(t), conn, NewLines(strings.NewReader("")), NewScreen(&failAfter{25}), nil)
	if wantStatus[*OutputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
		t.Error(err)
	}
}

func TestDialogueSendsCRLF(t *testing.T) {
	t.Parallel()
	conn := pair(t, onMemory(script(t, "GET / HTTP/1.0\r\n\r\n", "<bye")))
	typed := NewLines(strings.NewReader("GET / HTTP/1.0\r\n\n"))
	if err := Dialogue(within(t), conn, typed, io.Discard, &Config{CRLF: true}); err != nil {
		t.Error(err)
	}
}

func TestDialogueEndsWhenThePeerDoes(t *testing.T) {
	t.Parallel()
	typed, keyboard := io.Pipe() // a person who thinks
	defer keyboard.Close()
	var out, status bytes.Buffer
	conn := Record(pair(t, onMemory(script(t, "<bye\xe2\x82"))), target, &StatusView{W: &status})
	if err := Dialogue(within(t), conn, NewLines(typed), NewScreen(&out), nil); err != nil {
		t.Fatal(err)
	}
	if want := `bye\xe2\x82`; out.String() != want { // half a character, flushed
		t.Errorf("out %q, want %q", out.String(), want)
	}
	if !strings.Contains(status.String(), "\nConnection closed by peer; 0 bytes sent, 5 received, in ") {
		t.Errorf("status %q", status.String())
	}
}

func TestDialogueSaysThatALineWasNotTaken(t *testing.T) {
	t.Parallel()
	typed, keyboard := io.Pipe()
	gone := make(chan struct{})
	conn := pair(t, func(c *yodeltest.Conn) {
		io.ReadFull(c, make([]byte, 6))
		c.Reset()
		close(gone)
	})
	go func() {
		io.WriteString(keyboard, "hello\n")
		<-gone
		io.WriteString(keyboard, "lost\n")
		keyboard.Close()
	}()
	err := Dialogue(within(t), conn, NewLines(typed), io.Discard, nil)
	if broken := wantStatus[*BrokenError](t, err, StatusBroken); broken.Sent != 6 {
		t.Errorf("%+v", broken)
	}
}

// leaving is a dialogue that a person leaves by a key.
func leaving(t *testing.T, key string, talk func(context.Context, net.Conn, Lines) error) (heard string, err error) {
	t.Helper()
	typed, keyboard := io.Pipe()
	ctx, leave := context.WithCancelCause(within(t))
	keys := NewKeys(typed, leave)
	got := make(chan string, 1)
	conn := pair(t, func(c *yodeltest.Conn) {
		line := make([]byte, 6)
		io.ReadFull(c, line)
		go func() { io.WriteString(keyboard, "half a line"+key) }()
		rest, _ := io.ReadAll(c)
		got <- string(line) + string(rest)
	})
	go io.WriteString(keyboard, "hello\n")
	err = talk(ctx, conn, NewLines(keys))
	keyboard.Close()
	keys.Close()
	return <-got, err
}

func TestDialogueIsLeft(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]error{"\x1d": nil, "\x03": ErrInterrupted} {
		heard, err := leaving(t, key, func(ctx context.Context, c net.Conn, typed Lines) error {
			return Dialogue(ctx, c, typed, io.Discard, nil)
		})
		if err != want || heard != "hello\n" {
			t.Errorf("key %q: error %v, the peer heard %q", key, err, heard)
		}
	}
}

func TestPromptIsLeftWhileItWaitsForAnAnswer(t *testing.T) {
	t.Parallel()
	// What was typed ahead is not read, so ^] needs a second press.
	for key, want := range map[string]error{"\x1d\x1d": nil, "\x03": ErrInterrupted} {
		heard, err := leaving(t, key, func(ctx context.Context, c net.Conn, typed Lines) error {
			return Prompt(ctx, c, typed, io.Discard, nil)
		})
		if err != want || heard != "hello\n" {
			t.Errorf("key %q: error %v, the peer heard %q", key, err, heard)
		}
	}
}

func TestDialogueWithLinesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	hear := func(c *yodeltest.Conn) { io.ReadAll(c) }
	err := Dialogue(within(t), pair(t, hear), NewLines(&failAfter{3}), io.Discard, nil)
	if wantStatus[*InputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
		t.Error(err)
	}
	long := io.MultiReader(strings.NewReader(strings.Repeat("x", MaxTyped)), strings.NewReader("\n"))
	err = Dialogue(within(t), pair(t, hear), NewLines(long), io.Discard, nil)
	if wantStatus[*InputError](t, err, StatusFailed); !strings.Contains(err.Error(), "send it through a pipe") {
		t.Error(err)
	}
}

func TestDialogueOverDatagrams(t *testing.T) {
	t.Parallel()
	conn := udpPeer(t, func(r []byte) [][]byte { return [][]byte{bytes.ToUpper(r)} })
	var out bytes.Buffer
	if err := Dialogue(within(t), conn, NewLines(strings.NewReader("one\ntwo\n")), &out, briefly); err != nil {
		t.Fatal(err)
	}
	if out.String() != "ONE\nTWO\n" {
		t.Errorf("out %q", out.String())
	}
}

// The lecture's dialogue.
func TestPrompt(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	typed := NewLines(strings.NewReader("hello there\nagain\n"))
	if err := Prompt(within(t), pair(t, onMemory(upperPeer)), typed, &out, nil); err != nil {
		t.Fatal(err)
	}
	want := "type:echo:HELLO THERE\ntype:echo:AGAIN\ntype:\n"
	if out.String() != want {
		t.Errorf("out\n%q, want\n%q", out.String(), want)
	}
}

func TestPromptLongLine(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("0123456789", 100_000) + "\n" // more than all buffers hold
	var out bytes.Buffer
	if err := Prompt(within(t), serve(t, echo), NewLines(strings.NewReader(line)), &out, nil); err != nil {
		t.Fatal(err)
	}
	if want := "type:echo:" + line + "type:\n"; out.String() != want {
		t.Errorf("%d bytes, wanted %d", out.Len(), len(want))
	}
}

func TestPromptLastLineWithoutNewline(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Prompt(within(t), serve(t, echo), NewLines(strings.NewReader("one\ntwo")), &out, nil); err != nil {
		t.Fatal(err)
	}
	if want := "type:echo:one\ntype:echo:twotype:\n"; out.String() != want {
		t.Errorf("out %q, want %q", out.String(), want)
	}
}

func TestPromptPeerCloses(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	conn := pair(t, onMemory(script(t, "one\n", "<ONE\n", "two\n")))
	err := Prompt(within(t), conn, NewLines(strings.NewReader("one\ntwo\nthree\n")), &out, nil)
	broken := wantStatus[*BrokenError](t, err, StatusBroken)
	if want := "closed by peer before the end; 8 bytes sent, the rest of the input not read"; err.Error() != want {
		t.Errorf("error %q, want %q (%+v)", err, want, broken)
	}
	if want := "type:echo:ONE\ntype:"; out.String() != want {
		t.Errorf("out %q, want %q", out.String(), want)
	}
}

func TestPromptFails(t *testing.T) {
	t.Parallel()
	for limit := range len("type:echo:ONE\ntype:\n") {
		conn := pair(t, onMemory(upperPeer))
		err := Prompt(within(t), conn, NewLines(strings.NewReader("one\n")), &failAfter{limit}, nil)
		if wantStatus[*OutputError](t, err, StatusFailed); !errors.Is(err, errBroken) {
			t.Errorf("output of %d bytes: %v", limit, err)
		}
	}
	err := Prompt(within(t), pair(t, onMemory(upperPeer)), NewLines(&failAfter{0}), io.Discard, nil)
	wantStatus[*InputError](t, err, StatusFailed)
	err = Prompt(within(t), pair(t, func(c *yodeltest.Conn) { c.Reset() }), NewLines(strings.NewReader("one\n")), io.Discard, nil)
	wantStatus[*BrokenError](t, err, StatusBroken)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Prompt(ctx, pair(t, onMemory(upperPeer)), NewLines(strings.NewReader("one\n")), io.Discard, nil); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestPromptOverDatagrams(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 20_000) // longer than a line buffer
	conn := udpPeer(t, func(r []byte) [][]byte { return [][]byte{bytes.ToUpper(r)} })
	var out bytes.Buffer
	if err := Prompt(within(t), conn, NewLines(strings.NewReader(long+"\n")), &out, nil); err != nil {
		t.Fatal(err)
	}
	if want := "type:echo:" + strings.ToUpper(long) + "\ntype:\n"; out.String() != want {
		t.Errorf("%d bytes, wanted %d", out.Len(), len(want))
	}
}

// terminal is a real line editor whose keys the test presses and whose screen it reads.
type terminal struct {
	io.Reader
	screen buffer

	awaited string        // if not empty:
	shown   chan struct{} // closed once that is on the screen
	once    sync.Once
}

func (t *terminal) Write(p []byte) (int, error) {
	n, err := t.screen.Write(p)
	if t.awaited != "" && strings.Contains(t.screen.String(), t.awaited) {
		t.once.Do(func() { close(t.shown) })
	}
	return n, err
}

func TestPromptOnATerminal(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancelCause(within(t))
	keys := NewKeys(strings.NewReader("helo\x1b[Dl\rsecond\r\x04"), leave) // an arrow key, and ^D
	tty := &terminal{Reader: keys}
	editor := term.NewTerminal(tty, "")
	editor.History = new(History)
	if err := Prompt(ctx, pair(t, onMemory(upperPeer)), editor, NewScreen(editor), nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"type:helo", "\r\necho:HELLO\r\n", "\r\necho:SECOND\r\n", "type:"} {
		if !strings.Contains(tty.screen.String(), want) {
			t.Errorf("the screen\n%q\nhas no %q", tty.screen.String(), want)
		}
	}
	if editor.History.Len() != 2 || editor.History.At(0) != "second" || editor.History.At(1) != "hello" {
		t.Errorf("history has %d lines", editor.History.Len())
	}
}

func TestDialogueOnATerminal(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancelCause(within(t))
	typed, keyboard := io.Pipe()
	keys := NewKeys(typed, leave)
	defer keys.Close()
	defer keyboard.Close()
	tty := &terminal{Reader: keys, awaited: "login: ", shown: make(chan struct{})}
	editor := term.NewTerminal(tty, "")
	heard := make(chan string, 1)
	conn := pair(t, func(c *yodeltest.Conn) {
		io.WriteString(c, "login: \x1b[2J")
		<-tty.shown
		go io.WriteString(keyboard, "me\r")
		line := make([]byte, 3)
		io.ReadFull(c, line)
		io.WriteString(keyboard, "\x1d")
		rest, _ := io.ReadAll(c)
		heard <- string(line) + string(rest)
	})
	if err := Dialogue(ctx, conn, editor, NewScreen(editor), nil); err != nil {
		t.Fatal(err)
	}
	if got := <-heard; got != "me\n" {
		t.Errorf("the peer heard %q", got)
	}
	if s := tty.screen.String(); !strings.Contains(s, `login: \x1b[2J`) || strings.Contains(s, "\x1b[2J") {
		t.Errorf("the screen shows %q", s)
	}
}

// A key that leaves may reach a dialogue as an error of its lines alone.
func TestDialogueIsLeftByItsLines(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]error{"\x1d": nil, "\x03": ErrInterrupted} {
		for name, mode := range map[string]func(context.Context, net.Conn, Lines, io.Writer, *Config) error{"dialogue": Dialogue, "prompt": Prompt} {
			typed := NewLines(NewKeys(strings.NewReader(key), func(error) {}))
			if err := mode(within(t), pair(t, onMemory(upperPeer)), typed, io.Discard, nil); err != want {
				t.Errorf("%s, key %q: %v", name, key, err)
			}
		}
	}
}
