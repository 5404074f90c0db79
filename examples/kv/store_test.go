package main

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"
)

const oom = "-OOM command not allowed when used memory > 'maxmemory'."

func TestMaxKeys(t *testing.T) {
	t.Parallel()
	converse(t, limits{maxKeys: 2, maxValue: 100, maxBytes: 1 << 20}, []exchange{
		{"SET a 1", "+OK"},
		{"INCR b", ":1"},
		{"SET c 1", oom},
		{"INCR c", oom},
		{"GET c", "$-1"},
		{"DBSIZE", ":2"},
		{"SET a 2", "+OK"},
		{"INCR b", ":2"}, // keys that are there may change
		{"DEL a", ":1"},
		{"SET c 1", "+OK"},
		{"SET a 1", oom},
	}...)
}

func TestMaxBytes(t *testing.T) {
	t.Parallel()
	const room = 3*entryCost + 600
	big := strings.Repeat("x", 512)
	converse(t, limits{maxKeys: 1000, maxValue: 1000, maxBytes: room}, []exchange{
		{"SET a " + big, "+OK"},
		{"SET b " + big, oom},
		{"GET b", "$-1"},
		{"SET b 1", "+OK"},
		{"SET b " + big, oom},
		{"GET b", "$1\r\n1"}, // what does not fit changes nothing
		{"SET b 2", "+OK"},
		{"SET c 3", "+OK"},
		{"SET d 4", oom},
		{"SET a " + big[1:], "+OK"},
		{"SET a 1", "+OK"},
		{"SET b " + big, "+OK"}, // a shorter value makes room
		{"FLUSHALL", "+OK"},
		{"SET z " + big, "+OK"},
	}...)
}

// MSET sets all or nothing.
func TestMaxForSeveral(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 512)
	converse(t, limits{maxKeys: 3, maxValue: 1000, maxBytes: 3*entryCost + 600}, []exchange{
		{"MSET a 1 b 2 c 3 d 4", oom},
		{"DBSIZE", ":0"},
		{"MSET a 1 b 2 c 3", "+OK"},
		{"MSET c 4 d 5", oom},
		{"GET c", "$1\r\n3"},
		{"MSET a " + big + " b " + big, oom},
		{"GET a", "$1\r\n1"},
		{"MSET a " + big + " b 3", "+OK"},
		{"MSET a 1 b " + big, oom}, // what a shorter value leaves is not counted on
		{"MSET a 1 b 4", "+OK"},
		{"MSET b " + big + " c 5", "+OK"},
		{"MSET a 6 a 7", "+OK"},
		{"GET a", "$1\r\n7"},
	}...)
}

// Values that are long are not copied, and are sent as they were while they are set anew.
func TestSeveralLongValues(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(limits{maxKeys: 10, maxValue: 1 << 20, maxBytes: 10 << 20}))
	long := strings.Repeat("x", 100_000)
	talk.Send(resp("MSET", "a", long, "b", "short") + resp("GET", "a") + resp("MSET", "a", "y", "b", long) + resp("GET", "a") + resp("GET", "b"))
	talk.Want("both", "+OK\r\n$100000\r\n"+long+"\r\n+OK\r\n$1\r\ny\r\n$100000\r\n"+long+"\r\n")
}

func TestMaxValue(t *testing.T) {
	t.Parallel()
	l := limits{maxKeys: 10, maxValue: 100, maxBytes: 1 << 20}
	converse(t, l, exchange{"SET a " + strings.Repeat("x", 100), "+OK"})
	talk := newTalk(t, newService(l))
	talk.Send(resp("SET", "a", strings.Repeat("x", 101)))
	talk.Want("a longer one ends the connection", "-ERR Protocol error: invalid bulk length\r\n")
	talk.WantPeerError("as the peer's mistake", 0)
	line := newTalk(t, newService(l))
	line.Send("SET a " + strings.Repeat("x", 101) + "\n")
	line.Want("on a line too", "-ERR Protocol error: too big inline request\r\n")
	line.WantPeerError("as the peer's mistake", 0)
}

// Keys that have expired make room without anybody asking for them.
func TestExpiredKeysMakeRoom(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(limits{maxKeys: 100, maxValue: 100, maxBytes: 1 << 20}))
	for i := range 100 {
		exchange{fmt.Sprintf("SET k%d 1 EX %d", i, 1+i%2), "+OK"}.with(talk)
	}
	exchange{"SET x 1", oom}.with(talk)
	talk.Advance(time.Second)
	exchange{"PING", "+PONG"}.with(talk)
	exchange{"DBSIZE", fmt.Sprintf(":%d", 100-2*purgePerCommand)}.with(talk) // each command removes a few
	exchange{"SET x 1", "+OK"}.with(talk)
	talk.Advance(time.Second)
	for range 100 / purgePerCommand {
		exchange{"PING", "+PONG"}.with(talk)
	}
	exchange{"DBSIZE", ":1"}.with(talk)
}

// More keys have expired than a command removes on its way: the others are as good as gone.
func TestExpiredKeysAreNotSeen(t *testing.T) {
	t.Parallel()
	talk := newTalk(t, newService(roomy))
	for i := range 20 {
		exchange{fmt.Sprintf("SET k%d 1 PX %d", i, 100+i), "+OK"}.with(talk)
	}
	talk.Advance(time.Second)
	for _, x := range []exchange{
		{"GET k19", "$-1"}, {"EXISTS k18", ":0"}, {"DEL k17", ":0"}, {"TTL k16", ":-2"}, {"SET k0 2 XX", "$-1"},
	} {
		x.with(talk)
	}
}

// A write that needs room removes a bounded number of expired keys.
func TestPurgeIsBounded(t *testing.T) {
	t.Parallel()
	st := newStore(limits{maxKeys: 3000, maxValue: 1 << 20, maxBytes: 700_000})
	now := time.Unix(1000, 0)
	st.begin(now)
	for i := range 3000 {
		st.expireAt(st.set(fmt.Appendf(nil, "key%d", i), []byte("1")), st.now+time.Second)
	}
	st.end()
	st.begin(now.Add(time.Second))
	defer st.end()
	if e := st.set([]byte("big"), make([]byte, 1<<19)); e != nil {
		t.Error("there was room for it after 1,000 keys")
	}
	if want := 3000 - purgePerCommand - purgeForRoom; len(st.entries) != want {
		t.Errorf("%d keys are left, want %d", len(st.entries), want)
	}
	if e := st.set([]byte("big"), make([]byte, 1<<19)); e == nil {
		t.Error("asked again, there is no room after 2,000")
	}
}

// The store does what a map and a list of times do, and its sums are right.
func TestStoreAgainstAModel(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	st := newStore(limits{maxKeys: 50, maxValue: 1 << 20, maxBytes: 1 << 30})
	model := map[string]string{}
	expires := map[string]time.Duration{}
	now := time.Unix(1000, 0)
	for step := range 10_000 {
		now = now.Add(time.Duration(rng.IntN(10)) * time.Millisecond)
		st.begin(now)
		for k, at := range expires {
			if at <= st.now {
				delete(model, k)
				delete(expires, k)
			}
		}
		key := fmt.Sprint("k", rng.IntN(40))
		switch rng.IntN(5) {
		case 0, 1:
			value := strings.Repeat("v", rng.IntN(1+rng.IntN(10_000)))
			if rng.IntN(2) == 0 {
				st.give([]byte(key), []byte(value))
			} else {
				st.set([]byte(key), []byte(value))
			}
			model[key] = value
		case 2:
			if e := st.find([]byte(key)); e != nil {
				st.remove(e)
			}
			delete(model, key)
			delete(expires, key)
		case 3:
			at := st.now + time.Duration(rng.IntN(300))*time.Millisecond + 1
			if e := st.find([]byte(key)); e != nil {
				st.expireAt(e, at)
				expires[key] = at
			}
		case 4:
			if e := st.find([]byte(key)); e != nil {
				st.expireAt(e, 0)
			}
			delete(expires, key)
		}
		checkStore(t, st, model, expires)
		st.end()
		if t.Failed() {
			t.Fatalf("after step %d", step)
		}
	}
}

func checkStore(t *testing.T, st *store, model map[string]string, expires map[string]time.Duration) {
	t.Helper()
	used := int64(0)
	for _, e := range st.entries {
		used += e.cost()
	}
	if used != st.used {
		t.Errorf("%d bytes are used, the sum says %d", used, st.used)
	}
	for i, e := range st.expiries {
		if e.place != i || e.expires == 0 || st.entries[e.key] != e {
			t.Errorf("place %d of the heap has %+v", i, e)
		}
	}
	for k, v := range model {
		e := st.find([]byte(k))
		if e == nil || string(e.value) != v || e.expires != expires[k] {
			t.Errorf("%s is %+v, want %d bytes that expire at %v", k, e, len(v), expires[k])
		}
	}
	if len(st.entries) != len(model)+expiredIn(st) {
		t.Errorf("%d keys, want %d and those that have expired", len(st.entries), len(model))
	}
}

func expiredIn(st *store) (n int) {
	for _, e := range st.expiries {
		if st.isExpired(e) {
			n++
		}
	}
	return n
}

// entryCost is not less than what keys really cost.
func TestEntryCost(t *testing.T) {
	const n = 100_000
	st := newStore(limits{maxKeys: n, maxValue: 100, maxBytes: 1 << 30})
	before := heapInUse()
	st.begin(time.Unix(1000, 0))
	for i := range n {
		st.expireAt(st.set(fmt.Appendf(nil, "key:%012d", i), []byte("12345678")), st.now+time.Hour)
	}
	st.end()
	real := heapInUse() - before
	t.Logf("%d bytes a key, accounted %d", real/n, st.used/n)
	if real > st.used*5/4 {
		t.Errorf("%d keys take %d bytes, accounted for are %d", n, real, st.used)
	}
	runtime.KeepAlive(st)
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
