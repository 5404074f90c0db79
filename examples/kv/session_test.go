package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"yodel"
	"yodel/yodeltest"
)

// roomy are limits that no test meets by accident.
var roomy = limits{maxKeys: 1000, maxValue: 1 << 20, maxBytes: 64 << 20}

func newTalk(t *testing.T, svc yodel.Service) *yodeltest.Talk {
	return yodeltest.NewTalk(t, svc, yodel.Peer{})
}

// exchange is a command, as a person types it, and its reply.
type exchange struct{ say, want string }

func (x exchange) with(talk *yodeltest.Talk) {
	talk.Send(x.say + "\n")
	talk.Want(x.say, x.want+crlf)
}

func converse(t *testing.T, l limits, exchanges ...exchange) {
	t.Helper()
	talk := newTalk(t, newService(l))
	for _, x := range exchanges {
		x.with(talk)
	}
	talk.EOF()
	talk.WantEnd("the peer ends and all is said")
}

func TestDialogue(t *testing.T) {
	t.Parallel()
	svc := newService(roomy)
	talk := newTalk(t, svc)
	talk.Want("it does not speak first", "")
	talk.Send(resp("SET", "greeting", "hello there"))
	talk.Want("a value is kept", "+OK\r\n")
	talk.WantHeard("a command is a message", len(resp("SET", "greeting", "hello there")))
	talk.Send(resp("GET", "greeting"))
	talk.Want("and read", "$11\r\nhello there\r\n")

	other := newTalk(t, svc)
	other.Send(resp("GET", "greeting"))
	other.Want("by others too", "$11\r\nhello there\r\n")
	other.Send(resp("DEL", "greeting"))
	other.Want("who may remove it", ":1\r\n")

	talk.Send(resp("GET", "greeting"))
	talk.Want("then it is gone", "$-1\r\n")
	talk.Send(resp("QUIT") + resp("PING"))
	talk.Want("good-bye", "+OK\r\n")
	talk.WantEnd("and what comes behind it is not obeyed")
	other.EOF()
	other.WantEnd("the other one just leaves")
}

func TestCommands(t *testing.T) {
	t.Parallel()
	const notInteger = "-ERR value is not an integer or out of range"
	for name, exchanges := range map[string][]exchange{
		"ping": {
			{"ping", "+PONG"},
			{"PiNg", "+PONG"},
			{"PING hello", "$5\r\nhello"},
			{"PING a b", "-ERR wrong number of arguments for 'ping' command"},
		},
		"echo": {{`ECHO "a b"`, "$3\r\na b"}, {`ECHO ""`, "$0\r\n"}, {"ECHO", "-ERR wrong number of arguments for 'echo' command"}},
		"select": {
			{"SELECT 0", "+OK"}, {"SELECT 1", "-ERR DB index is out of range"}, {"SELECT x", notInteger},
		},
		"get": {{"GET a", "$-1"}, {"GET", "-ERR wrong number of arguments for 'get' command"}, {"GET a b", "-ERR wrong number of arguments for 'get' command"}},
		"set": {
			{"SET a 1", "+OK"},
			{"SET a 22", "+OK"},
			{"GET a", "$2\r\n22"},
			{`SET a ""`, "+OK"},
			{"GET a", "$0\r\n"},
			{"SET a", "-ERR wrong number of arguments for 'set' command"},
		},
		"set, if": {
			{"SET a 1 XX", "$-1"},
			{"GET a", "$-1"},
			{"SET a 1 NX", "+OK"},
			{"SET a 2 nx", "$-1"},
			{"GET a", "$1\r\n1"},
			{"SET a 3 xx", "+OK"},
			{"GET a", "$1\r\n3"},
		},
		"set, in wrong ways": {
			{"SET a 1 NX XX", "-ERR syntax error"},
			{"SET a 1 XX NX", "-ERR syntax error"},
			{"SET a 1 EX", "-ERR syntax error"},
			{"SET a 1 EX 1 PX 1", "-ERR syntax error"},
			{"SET a 1 EX 1 KEEPTTL", "-ERR syntax error"},
			{"SET a 1 KEEPTTL PX 1", "-ERR syntax error"},
			{"SET a 1 LATER", "-ERR syntax error"},
			{"SET a 1 EX x", notInteger},
			{"SET a 1 EX 0", "-ERR invalid expire time in 'set' command"},
			{"SET a 1 PX -1", "-ERR invalid expire time in 'set' command"},
			{"SET a 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command"},
			{"GET a", "$-1"},
		},
		"several at once": {
			{"SET a 1 EX 100", "+OK"},
			{"MSET a 2 b 3 a 4", "+OK"},
			{"GET a", "$1\r\n4"},
			{"GET b", "$1\r\n3"},
			{"TTL a", ":-1"},
			{"DBSIZE", ":2"},
			{"MSET a 5 b", "-ERR wrong number of arguments for 'mset' command"},
			{"MSET a", "-ERR wrong number of arguments for 'mset' command"},
			{"GET a", "$1\r\n4"},
		},
		"del and exists": {
			{"SET a 1", "+OK"}, {"SET b 1", "+OK"}, {"EXISTS a b c a", ":3"}, {"DEL a c b a", ":2"}, {"EXISTS a", ":0"}, {"DEL a", ":0"},
		},
		"counting": {
			{"INCR n", ":1"},
			{"INCR n", ":2"},
			{"DECR n", ":1"},
			{"INCRBY n 41", ":42"},
			{"DECRBY n 52", ":-10"},
			{"GET n", "$3\r\n-10"},
			{"INCRBY n 0", ":-10"},
			{"INCRBY n 9", ":-1"},
			{"INCR n", ":0"},
		},
		"counting what is no number": {
			{"SET n x", "+OK"},
			{"INCR n", notInteger},
			{`SET n ""`, "+OK"},
			{"INCR n", notInteger},
			{"SET n 01", "+OK"},
			{"INCR n", notInteger},
			{"INCRBY n x", notInteger},
			{"DECRBY n 1.5", notInteger},
		},
		"counting too far": {
			{"SET n 9223372036854775807", "+OK"},
			{"INCR n", "-ERR increment or decrement would overflow"},
			{"GET n", "$19\r\n9223372036854775807"},
			{"SET n -9223372036854775808", "+OK"},
			{"DECR n", "-ERR increment or decrement would overflow"},
			{"INCRBY n -9223372036854775808", "-ERR increment or decrement would overflow"},
			{"DECRBY n -9223372036854775808", "-ERR decrement would overflow"},
			{"INCRBY n 9223372036854775807", ":-1"},
		},
		"dbsize and flush": {
			{"DBSIZE", ":0"},
			{"SET a 1", "+OK"},
			{"INCR b", ":1"},
			{"DBSIZE", ":2"},
			{"FLUSHALL", "+OK"},
			{"DBSIZE", ":0"},
			{"GET a", "$-1"},
			{"FLUSHDB async", "+OK"},
			{"FLUSHALL SYNC", "+OK"},
			{"FLUSHALL now", "-ERR syntax error"},
			{"FLUSHALL sync async", "-ERR syntax error"},
		},
		"config": {
			{"CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n"},
			{"config get APPENDONLY", "*2\r\n$10\r\nappendonly\r\n$2\r\nno"},
			{"CONFIG GET maxmemory save", "*4\r\n$4\r\nsave\r\n$0\r\n\r\n$9\r\nmaxmemory\r\n$8\r\n67108864"},
			{"CONFIG GET port", "*0"},
			{"CONFIG SET save 1", "-ERR unknown subcommand or wrong number of arguments for 'SET' of 'config'"},
			{"CONFIG GET", "-ERR unknown subcommand or wrong number of arguments for 'GET' of 'config'"},
		},
		"command": {
			{"COMMAND COUNT", ":24"},
			{"COMMAND DOCS", "*0"},
			{"COMMAND DOCS get", "*0"},
			{"COMMAND GETKEYS get a", "-ERR unknown subcommand or wrong number of arguments for 'GETKEYS' of 'command'"},
		},
		"what there is not": {
			{"FOO", "-ERR unknown command 'FOO', with args beginning with: "},
			{`FOO bar "a\r\nb\x1b\x7f"`, "-ERR unknown command 'FOO', with args beginning with: 'bar' 'a  b  ' "},
			{"LPUSH " + strings.Repeat("x", 200), "-ERR unknown command 'LPUSH', with args beginning with: '" + strings.Repeat("x", 128) + "' "},
			{"LPUSH a " + strings.Repeat("x", 200) + " b", "-ERR unknown command 'LPUSH', with args beginning with: 'a' '" + strings.Repeat("x", 124) + "' "},
			{strings.Repeat("x", 17), "-ERR unknown command '" + strings.Repeat("x", 17) + "', with args beginning with: "},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			converse(t, roomy, exchanges...)
		})
	}
}

// All cuts of a conversation give the same replies, whether a command is parsed where it
// lies or gathered.
func TestCutsDoNotShow(t *testing.T) {
	t.Parallel()
	in := resp("SET", "k", "v\r\n") + "INCR n\r\n" + resp("GET", "k") + resp() + "\r\n" + resp("INCR", "n") + resp("NOSUCH") + "*1\r\n$-5\r\nPING\r\n"
	const want = "+OK\r\n:1\r\n$3\r\nv\r\n\r\n:2\r\n-ERR unknown command 'NOSUCH', with args beginning with: \r\n-ERR Protocol error: invalid bulk length\r\n"
	for _, over := range []int{0, 10, gatherOver} {
		for cut, parts := range yodeltest.Cuts(in) {
			if got := yodeltest.Play(t, gatheringService{newService(roomy), over}, parts...); got != want {
				t.Fatalf("gathered over %d bytes, %s:\ngot  %q\nwant %q", over, cut, got, want)
			}
		}
	}
}

// gatheringService is service with another bound from which on commands are gathered.
type gatheringService struct {
	*service
	over int
}

func (g gatheringService) Open(p yodel.Peer) yodel.Session {
	s := g.service.Open(p).(*session)
	s.parser.gatherOver = g.over
	return s
}

func TestCommandTable(t *testing.T) {
	t.Parallel()
	got := yodeltest.Play(t, newService(roomy), "COMMAND\r\n")
	if !strings.HasPrefix(got, "*24\r\n*6\r\n$4\r\nping\r\n:-1\r\n*1\r\n+fast\r\n:0\r\n:0\r\n:0\r\n") {
		t.Errorf("COMMAND begins with %q", got[:60])
	}
	if !strings.Contains(got, "*6\r\n$3\r\nset\r\n:-3\r\n*2\r\n+write\r\n+denyoom\r\n:1\r\n:1\r\n:1\r\n") {
		t.Errorf("set is not in %q", got)
	}
	if strings.Contains(got, "post") {
		t.Error("post is shown as a command")
	}
}

func TestConfigGetAll(t *testing.T) {
	t.Parallel()
	got := yodeltest.Play(t, newService(roomy), "CONFIG GET *\r\n")
	if !strings.HasPrefix(got, "*10\r\n") || strings.Count(got, "$") != 10 {
		t.Errorf("CONFIG GET *: %q", got)
	}
}

func TestInfo(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(roomy))
	exchange{"INFO keyspace", "$12\r\n# Keyspace\r\n"}.with(talk)
	exchange{"SET abc 12345678", "+OK"}.with(talk)
	exchange{"SET e 1 EX 10", "+OK"}.with(talk)
	exchange{"GET abc", "$8\r\n12345678"}.with(talk)
	exchange{"GET nothing", "$-1"}.with(talk)
	used := 2*entryCost + len("abc") + 8 + len("e") + 8 // 8 bytes are the least that Go gives
	for section, want := range map[string]string{
		"SERVER":     "# Server\r\nserver_name:kv\r\nredis_mode:standalone\r\n",
		"memory":     "# Memory\r\nused_memory:" + strconv.Itoa(used) + "\r\nmaxmemory:67108864\r\nmaxmemory_policy:noeviction\r\n",
		"keyspace":   "# Keyspace\r\ndb0:keys=2,expires=1\r\n",
		"no_section": "",
	} {
		exchange{"INFO " + section, fmt.Sprintf("$%d\r\n%s", len(want), want)}.with(talk)
	}
	talk.Send("INFO\n")
	all := talk.Drain(1 << 20)
	for _, line := range []string{"total_connections_received:1", "total_commands_processed:10", "keyspace_hits:1", "keyspace_misses:1", "expired_keys:0"} {
		if !strings.Contains(all, "\r\n"+line+"\r\n") {
			t.Errorf("%q is not in %q", line, all)
		}
	}
	talk.Send("INFO everything\n")
	if again := talk.Drain(1 << 20); strings.Count(again, "# ") != 5 || strings.Count(all, "# ") != 5 {
		t.Errorf("all sections are %q and %q", all, again)
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	svc := newService(roomy)
	talk := newTalk(t, svc)
	for _, x := range []exchange{
		{"SET a 1 EX 10", "+OK"},
		{"SET b 1 PX 1500", "+OK"},
		{"SET c 1", "+OK"},
		{"TTL a", ":10"},
		{"PTTL a", ":10000"},
		{"TTL b", ":2"},
		{"PTTL b", ":1500"},
		{"TTL c", ":-1"},
		{"PTTL c", ":-1"},
		{"TTL d", ":-2"},
		{"PTTL d", ":-2"},
	} {
		x.with(talk)
	}
	talk.Advance(1499 * time.Millisecond)
	for _, x := range []exchange{{"GET b", "$1\r\n1"}, {"PTTL b", ":1"}, {"TTL b", ":0"}} {
		x.with(talk)
	}
	talk.Advance(time.Millisecond)
	for _, x := range []exchange{{"GET b", "$-1"}, {"EXISTS a b c", ":2"}, {"TTL a", ":9"}, {"DBSIZE", ":2"}} {
		x.with(talk)
	}

	for _, x := range []exchange{
		{"INCR a", ":2"},
		{"PTTL a", ":8500"}, // a change of a value does not change when it expires
		{"SET a 3 KEEPTTL", "+OK"},
		{"PTTL a", ":8500"},
		{"EXPIRE a 100", ":1"},
		{"TTL a", ":100"},
		{"PEXPIRE a 700", ":1"},
		{"PTTL a", ":700"},
		{"PERSIST a", ":1"},
		{"TTL a", ":-1"},
		{"PERSIST a", ":0"},
		{"PERSIST x", ":0"},
		{"EXPIRE x 1", ":0"},
		{"EXPIRE c 1", ":1"},
		{"SET c 2", "+OK"},
		{"TTL c", ":-1"}, // SET takes it back
		{"EXPIRE c 0", ":1"},
		{"EXISTS c", ":0"},
		{"EXPIRE a -9223372036854775808", ":1"},
		{"EXISTS a", ":0"}, // at once
		{"SET a 1", "+OK"},
		{"EXPIRE a x", "-ERR value is not an integer or out of range"},
		{"EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command"},
		{"PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"},
		{"TTL a", ":-1"},
		{"EXPIRE a 3153600000", ":1"},
		{"TTL a", ":3153600000"}, // a hundred years
	} {
		x.with(talk)
	}
}

// A session whose clock is behind another's does not turn time back.
func TestTimeDoesNotGoBack(t *testing.T) {
	t.Parallel()
	svc := newService(roomy)
	ahead, behind := newTalk(t, svc), newTalk(t, svc)
	exchange{"SET a 1 PX 100", "+OK"}.with(ahead)
	ahead.Advance(100 * time.Millisecond)
	exchange{"GET a", "$-1"}.with(ahead)
	exchange{"SET b 1 PX 100", "+OK"}.with(behind)
	exchange{"PTTL b", ":100"}.with(ahead)
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	var in, want strings.Builder
	for i := range 1000 {
		in.WriteString(resp("INCR", "n"))
		fmt.Fprintf(&want, ":%d\r\n", i+1)
	}
	if got := yodeltest.Play(t, newService(roomy), in.String()); got != want.String() {
		t.Errorf("1,000 commands at once: %d bytes of replies, want %d", len(got), want.Len())
	}
}

// One Step obeys a bounded number of commands.
func TestStepIsBounded(t *testing.T) {
	t.Parallel()
	var out yodel.Out
	data := []byte(strings.Repeat("PING\n", 1000))
	used, err := newService(roomy).Open(yodel.Peer{}).Step(yodel.Input{Kind: yodel.Data, Data: data}, &out)
	if heard := len(out.TakeHeard()); used != 5*commandsPerStep || heard != commandsPerStep || err != nil {
		t.Errorf("used %d bytes, heard %d commands, %v", used, heard, err)
	}
}

func TestBackPressure(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(roomy))
	talk.SetMark(10)
	talk.Send(strings.Repeat("PING\n", 5))
	if talk.Pending() != 14 || talk.Unread() != 15 {
		t.Errorf("%d bytes are pending and %d unread; the reply that reaches the mark is the last one", talk.Pending(), talk.Unread())
	}
	talk.EOF()
	talk.Want("the rest comes as the peer reads", strings.Repeat("+PONG\r\n", 5))
	talk.WantEnd("then it ends")
}

// A large value is sent piece by piece, and the replies behind it wait.
func TestLargeValueIsSentAsThereIsRoom(t *testing.T) {
	t.Parallel()
	svc := newService(roomy)
	value := strings.Repeat("0123456789", 50_000)
	reply := "$500000\r\n" + value + "\r\n"
	talk := newTalk(t, svc)
	talk.Send(resp("SET", "big", value))
	talk.Want("it is kept", "+OK\r\n")
	talk.Send(resp("GET", "big") + resp("GET", "big") + resp("PING"))
	if n := talk.Pending(); n > yodel.DefaultMark+64 {
		t.Errorf("%d bytes are pending", n)
	}
	got := talk.Drain(200_000)
	if n := talk.Pending(); n > yodel.DefaultMark+64 {
		t.Errorf("%d bytes are pending after 200,000", n)
	}

	other := newTalk(t, svc)
	other.Send(resp("SET", "big", strings.Repeat("x", 500_000)) + resp("GET", "big"))
	other.Want("another one changes it meanwhile", "+OK\r\n$500000\r\n"+strings.Repeat("x", 500_000)+"\r\n")
	if got += talk.Drain(len(reply) - len(got)); got != reply {
		t.Error("the reply that had begun is not the old value")
	}
	talk.Want("the next one is the new value", "$500000\r\n"+strings.Repeat("x", 500_000)+"\r\n+PONG\r\n")
}

// A value of any length at a boundary of the two ways to send, to gather and to keep.
func TestValueLengths(t *testing.T) {
	t.Parallel()
	for _, n := range []int{
		0, 1, gatherOver - 1, gatherOver, gatherOver + 1, sharedOver - 1, sharedOver, sharedOver + 1,
		yodel.DefaultMark - 9, yodel.DefaultMark - 8, yodel.DefaultMark - 7, yodel.DefaultMark, yodel.DefaultMark + 1, roomy.maxValue,
	} {
		value := strings.Repeat("v", n)
		want := fmt.Sprintf("+OK\r\n$%d\r\n%s\r\n+OK\r\n$1\r\nx\r\n", n, value)
		in := resp("SET", "a", value) + resp("GET", "a") + resp("SET", "a", "x") + resp("GET", "a")
		if got := yodeltest.Play(t, newService(roomy), in); got != want {
			t.Errorf("%d bytes: the reply has %d bytes, want %d", n, len(got), len(want))
		}
	}
}

// Talk fails where a session leaves more unused than an engine keeps.
func TestValueBeyondWhatAnEngineKeeps(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(roomy))
	talk.SetMaxInput(maxInline)
	value := strings.Repeat("v", roomy.maxValue)
	talk.Send(resp("ECHO", value))
	talk.Want("it comes back whole", fmt.Sprintf("$%d\r\n%s\r\n", len(value), value))
	talk.WantHeard("as one message", len(resp("ECHO", value)))
}

func TestProtocolErrorsEndIt(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(roomy))
	talk.Send("SET a 1\n*2\r\n$3\r\nGET\r\n$1048577\r\n")
	talk.Want("what came before is obeyed, then it is told", "+OK\r\n-ERR Protocol error: invalid bulk length\r\n")
	talk.WantPeerError("and ended", 0)
}

func TestWebPagesAreNotObeyed(t *testing.T) {
	t.Parallel()
	for _, line := range []string{"POST / HTTP/1.1\r\n", "Host: localhost:6379\r\n", "post\r\n"} {
		talk := newTalk(t, newService(roomy))
		talk.Send("PING\r\n" + line + "FLUSHALL\r\n")
		talk.Want("nothing behind the line is obeyed", "+PONG\r\n")
		talk.WantPeerError("it ends without a word", 0)
	}
}

func TestEndWithinACommand(t *testing.T) {
	t.Parallel()
	for _, n := range []int{5, 3000} {
		talk := newTalk(t, newService(roomy))
		talk.Send(resp("SET", "a", strings.Repeat("x", 5000))[:n])
		talk.EOF()
		talk.WantEnd("half a command is none")
	}
}

// While a long command comes in, the engine is told, so that it sees to the peer's pace
// and, at shutdown, waits for the rest.
func TestLongCommandIsReceived(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(roomy))
	long := resp("ECHO", strings.Repeat("x", 2000))
	talk.Send("PING\n")
	talk.WantReceiving("between commands", false)
	talk.Send(long[:1500])
	talk.WantReceiving("within a long one", true)
	talk.Send(long[1500:] + "PIN")
	talk.WantReceiving("it is whole, and a short one is left with the engine", false)
}

func TestConnectedClients(t *testing.T) {
	t.Parallel()
	svc := newService(roomy)
	first, second := newTalk(t, svc), newTalk(t, svc)
	exchange{"INFO clients", "$32\r\n# Clients\r\nconnected_clients:2\r\n"}.with(first)
	second.Close()
	exchange{"INFO clients", "$32\r\n# Clients\r\nconnected_clients:1\r\n"}.with(first)
}

// The hot paths cost no memory.
func TestNoAllocations(t *testing.T) {
	svc := newService(roomy)
	sess := svc.Open(yodel.Peer{})
	var out yodel.Out
	step := func(data []byte) {
		in := yodel.Input{Kind: yodel.Data, Now: time.Unix(1, 0), Data: data}
		if used, err := sess.Step(in, &out); used != len(data) || err != nil {
			t.Fatalf("%q: used %d bytes, %v", data, used, err)
		}
		out.TakeHeard()
		out.Sent(out.Len())
	}
	for _, cmd := range []string{
		resp("SET", "key:000000000001", "xxx"), resp("GET", "key:000000000001"), resp("INCR", "counter:1"), resp("EXISTS", "a", "b"),
		resp("EXPIRE", "key:000000000001", "100"), resp("TTL", "key:000000000001"), "PING\r\n",
	} {
		data := []byte(cmd)
		step(data)
		if n := testing.AllocsPerRun(100, func() { step(data) }); n != 0 {
			t.Errorf("%q allocates %v times", cmd, n)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	for name, cmd := range map[string]string{
		"SET": resp("SET", "key:000000000001", "xxx"), "GET": resp("GET", "key:000000000001"), "INCR": resp("INCR", "counter:1"),
	} {
		b.Run(name, func(b *testing.B) {
			sess := newService(roomy).Open(yodel.Peer{})
			var out yodel.Out
			data := []byte(strings.Repeat(cmd, 16))
			now := time.Now()
			for b.Loop() {
				sess.Step(yodel.Input{Kind: yodel.Data, Now: now, Data: data}, &out)
				out.TakeHeard()
				out.Sent(out.Len())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/16, "ns/command")
		})
	}
}
