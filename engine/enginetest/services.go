package enginetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"yodel"
	"yodel/rio"
	"yodel/service/small"
)

// Services returns the services that the kit runs, by name. Each call makes new ones.
// An engine that serves in another process finds there, by the name in Config.Service,
// what Make was given here.
func Services() map[string]any {
	return map[string]any{
		"echo":    small.Echo{},
		"upper":   small.Upper{},
		"discard": small.Discard{},
		"chargen": small.Chargen{},
		"daytime": small.Daytime{},
		"time":    small.Time{},
		"qotd":    small.QOTD{},

		"dialogue":       dialogue{},
		"waits":          waits{},
		"keeps":          keeps{},
		"panics in open": panicsInOpen{},

		"conn":     connService{},
		"listener": listenerService{},
		"http":     &http.Server{Handler: http.HandlerFunc(answerHTTP)},
	}
}

// dialogue is a service of text lines that has states and does what its peer tells it
// to, good or bad: see verbs. It speaks first. A line is at most lineMax bytes; a
// longer one is refused.
type dialogue struct{}

const lineMax = 1000

func (dialogue) Open(yodel.Peer) yodel.Session {
	return &talk{lines: rio.Lines{Max: lineMax, Mode: rio.RefuseLong}}
}

type talk struct {
	lines rio.Lines
	name  string // whom it talks to; "" before hello
	take  int    // bytes of the present message that are still to come
	ticks int    // still to come
	every time.Duration
	later string // what to panic with at the end
}

func (s *talk) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	switch in.Kind {
	case yodel.Open:
		out.WriteString("220 hello\n")
	case yodel.Tick:
		s.tick(in.Now, out)
		return 0, nil
	}
	for out.Room() > 0 {
		used += s.taken(in.Data[used:], out)
		if s.take > 0 && in.Kind != yodel.EOF {
			return used, nil
		}
		line, n, err := s.lines.Next(in.Data[used:], in.Kind == yodel.EOF)
		used += n
		switch {
		case err == rio.ErrTooLong:
			out.WriteString("500 line too long\n")
		case err != nil || line == nil:
			return used, err
		default:
			out.Heard(n)
			if err := s.obey(string(rio.Trim(line)), in.Now, out); err != nil {
				return used, err
			}
		}
	}
	return used, nil
}

// A verb is what a line begins with. The rest of the line is its argument.
type verb struct {
	known bool // only for who has said hello
	do    func(s *talk, arg string, now time.Time, out *yodel.Out) error
}

var verbs = map[string]verb{
	"hello":   {false, (*talk).hello},
	"say":     {false, (*talk).say},
	"take":    {false, (*talk).startTake},
	"ticks":   {false, (*talk).startTicks},
	"mistake": {false, (*talk).mistake},
	"fault":   {false, (*talk).fault},
	"panic":   {false, (*talk).panic},
	"later":   {false, (*talk).panicLater},
	"quit":    {true, (*talk).quit},
}

func (s *talk) obey(line string, now time.Time, out *yodel.Out) error {
	word, arg, _ := strings.Cut(line, " ")
	v, ok := verbs[word]
	switch {
	case !ok:
		out.WriteString("500 what?\n")
	case v.known && s.name == "":
		out.WriteString("503 say hello first\n")
	default:
		return v.do(s, arg, now, out)
	}
	return nil
}

func (s *talk) hello(name string, _ time.Time, out *yodel.Out) error {
	s.name = name
	fmt.Fprintf(out, "250 hello %s\n", name)
	return nil
}

// say writes as many bytes as it is told to, past any mark.
func (s *talk) say(n string, _ time.Time, out *yodel.Out) error {
	size, _ := strconv.Atoi(n)
	fillPattern(out.Extend(size), 0)
	return nil
}

// startTake begins a message of so many bytes, which is taken as it comes.
func (s *talk) startTake(n string, _ time.Time, out *yodel.Out) error {
	s.take, _ = strconv.Atoi(n)
	out.Receiving(s.take > 0)
	return nil
}

// taken takes what there is of that message, and answers when it is whole.
func (s *talk) taken(data []byte, out *yodel.Out) int {
	n := min(s.take, len(data))
	if s.take -= n; n > 0 && s.take == 0 {
		out.Receiving(false)
		out.WriteString("250 taken\n")
	}
	return n
}

// startTicks begins N ticks, one every MS milliseconds; each is answered.
func (s *talk) startTicks(arg string, now time.Time, out *yodel.Out) error {
	var ms int
	fmt.Sscan(arg, &s.ticks, &ms)
	s.every = time.Duration(ms) * time.Millisecond
	out.WakeAt(now.Add(s.every))
	return nil
}

func (s *talk) tick(now time.Time, out *yodel.Out) {
	out.WriteString("tick\n")
	if s.ticks--; s.ticks > 0 {
		out.WakeAt(now.Add(s.every))
	}
}

func (s *talk) mistake(text string, _ time.Time, out *yodel.Out) error {
	out.WriteString("500 a mistake\n")
	return &yodel.PeerError{Code: 500, Msg: text}
}

func (s *talk) fault(text string, _ time.Time, _ *yodel.Out) error { return errors.New(text) }

func (s *talk) panic(text string, _ time.Time, _ *yodel.Out) error { panic(text) }

// panicLater panics when the connection is gone.
func (s *talk) panicLater(text string, _ time.Time, _ *yodel.Out) error {
	s.later = text
	return nil
}

// Closed implements yodel.Closer.
func (s *talk) Closed() {
	if s.later != "" {
		panic(s.later)
	}
}

func (s *talk) quit(_ string, _ time.Time, out *yodel.Out) error {
	fmt.Fprintf(out, "221 bye %s\n", s.name)
	return io.EOF
}

// waits is a service that waits for ever when its peer has ended.
type waits struct{}

func (waits) Open(yodel.Peer) yodel.Session { return new(waiting) }

type waiting struct{ told bool }

func (w *waiting) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	if in.Kind == yodel.EOF && !w.told {
		w.told = true
		out.WriteString("ended\n")
	}
	return len(in.Data), nil
}

// keeps is a service that does what it must not: it keeps what it was lent, and says it
// when it is woken.
type keeps struct{}

func (keeps) Open(yodel.Peer) yodel.Session { return new(keeper) }

type keeper struct{ kept []byte }

func (k *keeper) Step(in yodel.Input, out *yodel.Out) (used int, err error) {
	switch in.Kind {
	case yodel.EOF:
		return len(in.Data), io.EOF
	case yodel.Data:
		k.kept = in.Data
		out.WakeAt(in.Now.Add(time.Millisecond))
	case yodel.Tick:
		out.Write(k.kept)
	}
	return len(in.Data), nil
}

type panicsInOpen struct{}

func (panicsInOpen) Open(yodel.Peer) yodel.Session { panic("no session for you") }

// connService is a service of lines on the connection door. What is no order is sent
// back.
type connService struct{}

func (connService) ServeConn(nc net.Conn) {
	in := bufio.NewReader(nc)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		word, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
		if order, ok := orders[word]; !ok {
			io.WriteString(nc, line)
		} else if !order(nc, in, arg) {
			return
		}
	}
}

// orders are what the peer can tell a connService to do; false ends the conversation.
var orders = map[string]func(nc net.Conn, in *bufio.Reader, arg string) bool{
	"quit":     func(net.Conn, *bufio.Reader, string) bool { return false },
	"panic":    func(_ net.Conn, _ *bufio.Reader, arg string) bool { panic(arg) },
	"deadline": passDeadline,
	"work":     work,
	"flood":    flood,
	"half":     half,
}

// passDeadline lets a read deadline of the service's own pass, and takes it back.
func passDeadline(nc net.Conn, in *bufio.Reader, ms string) bool {
	nc.SetReadDeadline(time.Now().Add(milliseconds(ms)))
	_, err := in.ReadByte()
	nc.SetReadDeadline(time.Time{})
	fmt.Fprintf(nc, "passed: %v\n", errors.Is(err, os.ErrDeadlineExceeded))
	return true
}

// work takes its time and neither reads nor writes meanwhile.
func work(nc net.Conn, _ *bufio.Reader, ms string) bool {
	<-time.After(milliseconds(ms))
	io.WriteString(nc, "worked\n")
	return true
}

// flood writes for as long as it can.
func flood(nc net.Conn, _ *bufio.Reader, _ string) bool {
	piece := make([]byte, 100_000)
	fillPattern(piece, 0)
	for {
		if _, err := nc.Write(piece); err != nil {
			return false
		}
	}
}

// half ends its own direction and sends nothing more.
func half(nc net.Conn, in *bufio.Reader, _ string) bool {
	nc.(interface{ CloseWrite() error }).CloseWrite()
	io.Copy(io.Discard, in)
	return false
}

func milliseconds(s string) time.Duration {
	n, _ := strconv.Atoi(s)
	return time.Duration(n) * time.Millisecond
}

// listenerService accepts for itself, and knows nothing of shutting down.
type listenerService struct{}

func (listenerService) Serve(l net.Listener) error {
	for {
		nc, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer nc.Close()
			connService{}.ServeConn(nc)
		}()
	}
}

func answerHTTP(w http.ResponseWriter, r *http.Request) {
	if ms := r.URL.Query().Get("work"); ms != "" {
		http.NewResponseController(w).Flush() // the peer, and a trace, can tell that it has begun
		<-time.After(milliseconds(ms))
	}
	fmt.Fprintf(w, "%s from %s\n", r.Proto, r.RemoteAddr)
}

// fillPattern fills p with the bytes 0 to 250 over and over: a pattern that does not
// repeat with the size of any buffer. at is the place of p[0] in it.
func fillPattern(p []byte, at int) {
	for len(p) > 0 {
		n := copy(p, pattern[at%251:])
		p, at = p[n:], at+n
	}
}

var pattern = makePattern() // it is never written to

func makePattern() (p [16 * 251]byte) {
	for i := range p {
		p[i] = byte(i % 251)
	}
	return p
}
