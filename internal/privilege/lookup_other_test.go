//go:build !unix

package privilege

import (
	"errors"
	"strings"
	"testing"
)

func TestUnsupported(t *testing.T) {
	t.Parallel()
	_, lookup := Lookup("nobody")
	for name, err := range map[string]error{
		"Lookup": lookup,
		"Check":  Check(Credentials{UID: 1}),
		"Drop":   Drop(Credentials{UID: 1}),
	} {
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "NT SERVICE") {
			t.Errorf("%s: %v, want errors.ErrUnsupported and what to do", name, err)
		}
	}
}
