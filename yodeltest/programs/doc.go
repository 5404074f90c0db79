// Package programs is what the tests of services share that run programs for their peers:
// as whom a program runs, what it says in the log, whether it has gone, whether many
// sessions leave anything behind, and what becomes of a program whose system calls fail.
package programs
