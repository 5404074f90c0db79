// Package jury is a blind jury for package story: it has tests only.
//
// The tests make connections between foreign programs (curl and nginx, ncat and socat)
// and our own, on two hosts with a router between, and do something to each of them that
// is drawn from a seed: stop a process, lose packets, fill an accept queue, or nothing.
// tcpdump listens on both hosts. Then story is given the captures alone, and its verdict
// is compared with what was done.
//
//	go test ./internal/jury -run Blind -jury.rounds=1000 -v
package jury
