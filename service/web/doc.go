// Package web is a web server: it sends files, runs CGI programs on behalf of the client,
// and without either shows the caller what it knows of him.
//
// A Server is served by the connection door of an engine, which admits, limits, counts
// and traces connections and does TLS; it takes any net.Listener, though. HTTP/1.1 and
// HTTP/2 over TLS are package net/http's work, and so is what a conditional or a range
// request means. What is ours:
//
//   - In front of net/http stands a guard (guard.go, head.go, chunks.go). It reads each
//     request's head whole and lets only those through that have one meaning, so that no
//     proxy in front of us can have understood another. It changes no byte. It has the
//     clock of an unfinished head, and answers what it refuses.
//   - Small files are kept (cache.go), and a plain GET of one that is kept is answered by
//     the guard itself (express.go): with two system calls and without net/http.
//   - Files are opened below an os.Root (files.go): no path and no link leads out of it.
//   - CGI, RFC 3875 (gateway.go, meta.go, output.go), with programs run by
//     internal/child.
//
// What a client sends is bounded in size and time, and escaped before it reaches a log.
package web
