// Package echotest holds the tests of the lecture's programs: echoserveri, echoserver
// and echoclient. They are run as what they are, processes that talk to each other and
// to other people's programs, on this host and between two.
package echotest
