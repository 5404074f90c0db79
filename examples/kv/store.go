package main

import (
	"container/heap"
	"sync"
	"time"
)

// limits bound what peers can make the program hold.
type limits struct {
	maxKeys  int   // keys at once
	maxValue int   // bytes of one word of a command, a key or a value
	maxBytes int64 // bytes of all entries, see entry.cost
}

// entryCost is about what an entry costs beside the bytes of its key and value: its
// own fields, its place in the map and in the heap.
const entryCost = 128

// sharedOver is the length in bytes above which the memory of a value is never written
// again, so that a session can send it piece by piece while others go on. A shorter one
// is copied when it is read, and overwritten in place.
const sharedOver = 4 << 10

// How many expired keys are removed on the way: by each command, and by one that
// needs their room.
const (
	purgePerCommand = 4
	purgeForRoom    = 1000
)

// A store holds the keys and their values. It is used between begin and end.
type store struct {
	limits limits

	mu       sync.Mutex // held between begin and end; guards what follows
	base     time.Time  // times are counted from here
	now      time.Duration
	entries  map[string]*entry
	expiries expiries
	used     int64 // sum of the entries' costs
	stats    stats
}

// stats are the sums that INFO shows.
type stats struct {
	connections, commands, hits, misses, expired int64
	clients                                      int64 // connected now
}

func newStore(l limits) *store {
	return &store{limits: l, entries: make(map[string]*entry)}
}

// begin locks the store and tells it the time. Sessions on several threads may be a
// little out of order; time in the store does not go back.
func (st *store) begin(now time.Time) {
	st.mu.Lock()
	if st.base.IsZero() {
		st.base = now.Add(-1) // so that no time is 0
	}
	st.now = max(st.now, now.Sub(st.base))
	for range purgePerCommand {
		if !st.dropExpired() {
			break
		}
	}
}

func (st *store) end() { st.mu.Unlock() }

// entry is a key with its value.
type entry struct {
	key     string
	value   []byte
	expires time.Duration // 0: never
	place   int           // in store.expiries, if it expires
}

func (e *entry) cost() int64 { return int64(entryCost + len(e.key) + cap(e.value)) }

// shared reports whether the value's memory may be kept, since nobody writes to it.
func (e *entry) shared() bool { return cap(e.value) > sharedOver }

// find returns the entry of key, nil if there is none.
func (st *store) find(key []byte) *entry {
	e := st.entries[string(key)]
	if e != nil && st.isExpired(e) {
		st.expire(e)
		return nil
	}
	return e
}

// set gives key a copy of value and returns its entry; nil means that there is no room
// and that nothing has changed. When a key expires is left as it was.
func (st *store) set(key, value []byte) *entry {
	e := st.find(key)
	var old []byte
	if e != nil && !e.shared() {
		old = e.value
	}
	if cap(old) < len(value) || cap(old) > 64+2*len(value) { // a bad fit
		old = nil
	}
	return st.put(e, key, append(old[:0], value...))
}

// give is set without a copy, where value is long: nobody may write to it any more.
func (st *store) give(key, value []byte) *entry {
	if cap(value) <= sharedOver {
		return st.set(key, value)
	}
	return st.put(st.find(key), key, value)
}

// setAll gives each key of pairs, in which its value follows it, a copy of that, or the value
// itself if it is given and long; none of them expires. false means that there is no room
// for all, counted as if no key were there twice, and that nothing has changed.
func (st *store) setAll(pairs [][]byte, given bool) bool {
	values := make([][]byte, len(pairs)/2)
	keys, more := 0, int64(0)
	for i := range values {
		key, value := pairs[2*i], pairs[2*i+1]
		if !given || cap(value) <= sharedOver {
			value = append([]byte(nil), value...)
		}
		values[i] = value
		if e := st.find(key); e != nil {
			more += int64(max(cap(value)-cap(e.value), 0))
		} else {
			keys++
			more += (&entry{key: string(key), value: value}).cost()
		}
	}
	if !st.makeRoom(keys, more) {
		return false
	}
	for i, value := range values {
		key := pairs[2*i]
		st.expireAt(st.put(st.find(key), key, value), 0)
	}
	return true
}

// put makes memory the value of key, whose entry is e, nil if there is none.
func (st *store) put(e *entry, key, memory []byte) *entry {
	if e == nil {
		return st.add(&entry{key: string(key), value: memory})
	}
	more := int64(cap(memory) - cap(e.value))
	if more > 0 && !st.makeRoom(0, more) {
		return nil
	}
	e.value = memory
	st.used += more
	return e
}

func (st *store) add(e *entry) *entry {
	if !st.makeRoom(1, e.cost()) {
		return nil
	}
	st.entries[e.key] = e
	st.used += e.cost()
	return e
}

// makeRoom reports whether so many keys and bytes more may be held, and removes expired
// keys if it must.
func (st *store) makeRoom(keys int, bytes int64) bool {
	fits := func() bool {
		return len(st.entries)+keys <= st.limits.maxKeys && st.used+bytes <= st.limits.maxBytes
	}
	for tries := 0; tries < purgeForRoom && !fits() && st.dropExpired(); tries++ {
	}
	return fits()
}

func (st *store) remove(e *entry) {
	st.expireAt(e, 0)
	delete(st.entries, e.key)
	st.used -= e.cost()
}

// flush removes all keys.
func (st *store) flush() {
	st.entries, st.expiries, st.used = make(map[string]*entry), nil, 0
}

// expireAt sets when e expires; 0 means never.
func (st *store) expireAt(e *entry, at time.Duration) {
	before := e.expires
	switch {
	case at == before:
	case at == 0:
		heap.Remove(&st.expiries, e.place)
		e.expires = 0
	case before == 0:
		e.expires = at
		heap.Push(&st.expiries, e)
	default:
		e.expires = at
		heap.Fix(&st.expiries, e.place)
	}
}

func (st *store) isExpired(e *entry) bool { return e.expires != 0 && e.expires <= st.now }

func (st *store) expire(e *entry) {
	st.remove(e)
	st.stats.expired++
}

// dropExpired removes one expired key, if there is one.
func (st *store) dropExpired() bool {
	if len(st.expiries) == 0 || !st.isExpired(st.expiries[0]) {
		return false
	}
	st.expire(st.expiries[0])
	return true
}

// expiries are the entries that expire, a heap with the first to do so in front.
type expiries []*entry

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (x expiries) Len() int           { return len(x) }
func (x expiries) Less(i, j int) bool { return x[i].expires < x[j].expires }

func (x expiries) Swap(i, j int) {
	x[i], x[j] = x[j], x[i]
	x[i].place, x[j].place = i, j
}

func (x *expiries) Push(e any) {
	added := e.(*entry)
	added.place = len(*x)
	*x = append(*x, added)
}

func (x *expiries) Pop() any {
	last := len(*x) - 1
	e := (*x)[last]
	(*x)[last] = nil
	*x = (*x)[:last]
	return e
}
