// Package jury is a blind jury for package story: it has tests only.
//
// The tests make connections between foreign programs (curl and nginx, ncat and socat)
// and our own, on two hosts with a router between, and do something to each of them that
// is drawn from a seed: stop a process, lose packets, fill an accept queue, or nothing.
// tcpdump or our own capture listens on both hosts. Then story is given the captures, and
// its verdict is compared with what was done: once with all of it, and then with evidence
// that was made worse.
//
// The jury knows the truth from what it does itself. What it reads of captures it reads
// with code of its own, and a round in which the machine kept programs waiting is void.
//
//	go test ./internal/jury -run Blind -v -jury.rounds=100
//	go test ./internal/jury -run Blind -v -jury.rounds=1000 -jury.seed=2
package jury
