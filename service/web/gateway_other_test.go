//go:build !unix

package web

import (
	"errors"
	"testing"

	"yodel/internal/child"
	"yodel/yodeltest"
)

func nobody() *child.User { return nil }

func hellos(t testing.TB) string {
	t.Helper()
	yodeltest.Skip(t, "programs can't be run here", "run it on a Unix system")
	return ""
}

func TestNoCGIHere(t *testing.T) {
	s, err := New(&Config{CGI: t.TempDir(), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Serve(&oneConn{closed: make(chan bool)}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Serve: %v", err)
	}
}
