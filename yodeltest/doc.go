// Package yodeltest helps to test services and engines: a scripted conversation
// with a service that needs no engine ([Talk]), all the ways in which a stream can
// be cut ([Cuts]), an in-memory network ([Net]), serving for the time of a test
// ([Serve]), and checks for what a test needs
// of its machine ([NeedProgram]).
package yodeltest
