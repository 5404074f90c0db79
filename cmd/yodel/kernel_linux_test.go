package main

import (
	"testing"

	"yodel/yodeltest"
)

func TestKernelEngineIsForEcho(t *testing.T) {
	yodeltest.NeedRoot(t)
	for _, args := range [][]string{{"upper@127.0.0.1:0"}, {"echo@tls://127.0.0.1:0"}, {"echo@unix:/tmp/never"}} {
		r := runYodel(t, "", append([]string{"serve", "--engine=kernel"}, args...)...)
		wantStatus(t, r, 2, "engine kernel: ", "these can: ")
	}
}
