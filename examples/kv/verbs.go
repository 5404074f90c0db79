package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"yodel"
)

// verb is what a command begins with.
type verb struct {
	name string

	// words is how many words the command has, its name included; negative: that many
	// at least.
	words int

	flags string // as COMMAND shows them; empty: this is no command, and not shown
	keys  keys

	// do carries the command out, while the store is locked. An error ends the
	// connection.
	do func(s *session, args [][]byte, out *yodel.Out) error
}

// keys says which words of a command are keys: the first, the last (negative: counted
// from the end) and the step from one to the next. The zero keys are none.
type keys struct{ first, last, step int }

var (
	noKey   = keys{}
	oneKey  = keys{1, 1, 1}
	allKeys = keys{1, -1, 1}
	pairs   = keys{1, -1, 2}
)

// verbTable has all commands, in the order in which COMMAND shows them.
func verbTable() []verb {
	return []verb{
		{"ping", -1, "fast", noKey, (*session).ping},
		{"echo", 2, "fast", noKey, (*session).echo},
		{"select", 2, "fast", noKey, (*session).selectDB},
		{"quit", -1, "fast", noKey, (*session).quit},
		{"get", 2, "readonly fast", oneKey, (*session).get},
		{"set", -3, "write denyoom", oneKey, (*session).set},
		{"mset", -3, "write denyoom", pairs, (*session).setPairs},
		{"del", -2, "write", allKeys, (*session).del},
		{"exists", -2, "readonly fast", allKeys, (*session).exists},
		{"incr", 2, "write denyoom fast", oneKey, (*session).incr},
		{"decr", 2, "write denyoom fast", oneKey, (*session).decr},
		{"incrby", 3, "write denyoom fast", oneKey, (*session).incrBy},
		{"decrby", 3, "write denyoom fast", oneKey, (*session).decrBy},
		{"expire", 3, "write fast", oneKey, (*session).expireSeconds},
		{"pexpire", 3, "write fast", oneKey, (*session).expireMillis},
		{"persist", 2, "write fast", oneKey, (*session).persist},
		{"ttl", 2, "readonly fast", oneKey, (*session).ttlSeconds},
		{"pttl", 2, "readonly fast", oneKey, (*session).ttlMillis},
		{"dbsize", 1, "readonly fast", noKey, (*session).dbSize},
		{"flushall", -1, "write", noKey, (*session).flush},
		{"flushdb", -1, "write", noKey, (*session).flush},
		{"info", -1, "loading", noKey, (*session).info},
		{"config", -2, "admin", noKey, (*session).config},
		{"command", -1, "loading", noKey, (*session).command},

		// A web page can make a browser send these to a port of its own host. What
		// would come next is a page's, not the user's.
		{"post", -1, "", noKey, (*session).crossProtocol},
		{"host:", -1, "", noKey, (*session).crossProtocol},
	}
}

func verbsByName() map[string]*verb {
	byName := make(map[string]*verb)
	for _, v := range verbTable() {
		byName[v.name] = &v
	}
	return byName
}

// takes reports whether the command may have n words.
func (v *verb) takes(n int) bool { return n == v.words || v.words < 0 && n >= -v.words }

func (s *session) ping(args [][]byte, out *yodel.Out) error {
	switch len(args) {
	case 0:
		out.WriteString("+PONG\r\n")
	case 1:
		bulk(out, args[0])
	default:
		fail(out, "ERR wrong number of arguments for 'ping' command")
	}
	return nil
}

func (s *session) echo(args [][]byte, out *yodel.Out) error {
	bulk(out, args[0])
	return nil
}

func (s *session) selectDB(args [][]byte, out *yodel.Out) error {
	switch n, isInt := parseInt(args[0]); {
	case !isInt:
		fail(out, errNotInteger)
	case n != 0:
		fail(out, "ERR DB index is out of range")
	default:
		ok(out)
	}
	return nil
}

func (s *session) quit(_ [][]byte, out *yodel.Out) error {
	ok(out)
	return io.EOF
}

func (s *session) crossProtocol([][]byte, *yodel.Out) error {
	return &yodel.PeerError{Msg: "sent what looks like HTTP"}
}

func (s *session) get(args [][]byte, out *yodel.Out) error {
	e := s.store.find(args[0])
	switch {
	case e == nil:
		s.store.stats.misses++
		none(out)
		return nil
	case e.shared():
		number(out, '$', int64(len(e.value)))
		s.rest = e.value
		s.sendRest(out)
	default:
		bulk(out, e.value)
	}
	s.store.stats.hits++
	return nil
}

// setOptions are what may stand behind SET key value.
type setOptions struct {
	onlyNew, onlyOld bool
	keep             bool          // KEEPTTL
	expires          time.Duration // from now on; 0: never
}

func (s *session) set(args [][]byte, out *yodel.Out) error {
	opts, wrong := parseSetOptions(args[2:])
	if wrong != "" {
		fail(out, wrong)
		return nil
	}
	if opts.onlyNew || opts.onlyOld {
		exists := s.store.find(args[0]) != nil
		if exists && opts.onlyNew || !exists && opts.onlyOld {
			none(out)
			return nil
		}
	}
	set := s.store.set
	if s.parser.given {
		set = s.store.give
	}
	e := set(args[0], args[1])
	switch {
	case e == nil:
		fail(out, errNoRoom)
		return nil
	case opts.expires > 0:
		s.store.expireAt(e, s.store.now+opts.expires)
	case !opts.keep:
		s.store.expireAt(e, 0)
	}
	ok(out)
	return nil
}

// setPairs sets all keys, or none if there is no room for all.
func (s *session) setPairs(args [][]byte, out *yodel.Out) error {
	switch {
	case len(args)%2 != 0:
		fail(out, "ERR wrong number of arguments for 'mset' command")
	case !s.store.setAll(args, s.parser.given):
		fail(out, errNoRoom)
	default:
		ok(out)
	}
	return nil
}

// parseSetOptions returns what is wrong with words, "" if nothing is.
func parseSetOptions(words [][]byte) (opts setOptions, wrong string) {
	for len(words) > 0 {
		switch option := strings.ToUpper(string(words[0])); {
		case option == "NX" && !opts.onlyOld:
			opts.onlyNew = true
		case option == "XX" && !opts.onlyNew:
			opts.onlyOld = true
		case option == "KEEPTTL" && opts.expires == 0:
			opts.keep = true
		case (option == "EX" || option == "PX") && len(words) > 1 && !opts.keep && opts.expires == 0:
			if opts.expires, wrong = parseLifetime(words[1], unitOf(option), "set"); wrong != "" {
				return opts, wrong
			}
			if opts.expires <= 0 {
				return opts, badLifetime("set")
			}
			words = words[1:]
		default:
			return opts, errSyntax
		}
		words = words[1:]
	}
	return opts, ""
}

func unitOf(option string) time.Duration {
	if option == "EX" {
		return time.Second
	}
	return time.Millisecond
}

// maxLifetime is the longest time after which a key can be told to expire.
const maxLifetime = 100 * 365 * 24 * time.Hour

// parseLifetime returns how long a key shall live; wrong is "" or what is wrong with
// it. It may be in the past.
func parseLifetime(word []byte, unit time.Duration, command string) (d time.Duration, wrong string) {
	n, isInt := parseInt(word)
	if !isInt {
		return 0, errNotInteger
	}
	if n > int64(maxLifetime/unit) {
		return 0, badLifetime(command)
	}
	return time.Duration(max(n, -1)) * unit, ""
}

func badLifetime(command string) string {
	return fmt.Sprintf("ERR invalid expire time in '%s' command", command)
}

func (s *session) del(args [][]byte, out *yodel.Out) error {
	n := int64(0)
	for _, key := range args {
		if e := s.store.find(key); e != nil {
			s.store.remove(e)
			n++
		}
	}
	integer(out, n)
	return nil
}

func (s *session) exists(args [][]byte, out *yodel.Out) error {
	n := int64(0)
	for _, key := range args {
		if s.store.find(key) != nil {
			n++
		}
	}
	integer(out, n)
	return nil
}

func (s *session) incr(args [][]byte, out *yodel.Out) error { return s.add(args[0], 1, out) }
func (s *session) decr(args [][]byte, out *yodel.Out) error { return s.add(args[0], -1, out) }

func (s *session) incrBy(args [][]byte, out *yodel.Out) error {
	by, isInt := parseInt(args[1])
	if !isInt {
		fail(out, errNotInteger)
		return nil
	}
	return s.add(args[0], by, out)
}

func (s *session) decrBy(args [][]byte, out *yodel.Out) error {
	by, isInt := parseInt(args[1])
	switch {
	case !isInt:
		fail(out, errNotInteger)
		return nil
	case by == math.MinInt64:
		fail(out, "ERR decrement would overflow")
		return nil
	}
	return s.add(args[0], -by, out)
}

// add adds by to the number that is the value of key; without one it is 0.
func (s *session) add(key []byte, by int64, out *yodel.Out) error {
	n := int64(0)
	if e := s.store.find(key); e != nil {
		var isInt bool
		if n, isInt = parseInt(e.value); !isInt {
			fail(out, errNotInteger)
			return nil
		}
	}
	sum := n + by
	if (sum > n) != (by > 0) && by != 0 {
		fail(out, errOverflow)
		return nil
	}
	var text [20]byte
	if s.store.set(key, strconv.AppendInt(text[:0], sum, 10)) == nil {
		fail(out, errNoRoom)
		return nil
	}
	integer(out, sum)
	return nil
}

func (s *session) expireSeconds(args [][]byte, out *yodel.Out) error {
	return s.expire(args, time.Second, "expire", out)
}

func (s *session) expireMillis(args [][]byte, out *yodel.Out) error {
	return s.expire(args, time.Millisecond, "pexpire", out)
}

func (s *session) expire(args [][]byte, unit time.Duration, command string, out *yodel.Out) error {
	d, wrong := parseLifetime(args[1], unit, command)
	if wrong != "" {
		fail(out, wrong)
		return nil
	}
	e := s.store.find(args[0])
	switch {
	case e == nil:
		integer(out, 0)
		return nil
	case d <= 0:
		s.store.remove(e)
	default:
		s.store.expireAt(e, s.store.now+d)
	}
	integer(out, 1)
	return nil
}

func (s *session) persist(args [][]byte, out *yodel.Out) error {
	e := s.store.find(args[0])
	if e == nil || e.expires == 0 {
		integer(out, 0)
		return nil
	}
	s.store.expireAt(e, 0)
	integer(out, 1)
	return nil
}

func (s *session) ttlSeconds(args [][]byte, out *yodel.Out) error {
	return s.ttl(args[0], time.Second, out)
}

func (s *session) ttlMillis(args [][]byte, out *yodel.Out) error {
	return s.ttl(args[0], time.Millisecond, out)
}

// ttl answers how long key will live, rounded as Redis does: -1 for ever, -2 there is
// no such key.
func (s *session) ttl(key []byte, unit time.Duration, out *yodel.Out) error {
	e := s.store.find(key)
	switch {
	case e == nil:
		integer(out, -2)
	case e.expires == 0:
		integer(out, -1)
	default:
		integer(out, int64((e.expires-s.store.now+unit/2)/unit))
	}
	return nil
}

func (s *session) dbSize(_ [][]byte, out *yodel.Out) error {
	integer(out, int64(len(s.store.entries)))
	return nil
}

func (s *session) flush(args [][]byte, out *yodel.Out) error {
	if len(args) > 1 || len(args) == 1 && !isFlushMode(args[0]) {
		fail(out, errSyntax)
		return nil
	}
	s.store.flush()
	ok(out)
	return nil
}

func isFlushMode(word []byte) bool {
	return strings.EqualFold(string(word), "sync") || strings.EqualFold(string(word), "async")
}
