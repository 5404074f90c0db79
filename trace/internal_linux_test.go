package trace

import (
	"io/fs"
	"testing"
)

func TestClockNameIsOfBootAndNamespace(t *testing.T) {
	t.Parallel()
	if got := clockName(nil, fs.ErrNotExist); got != processClock() {
		t.Errorf("without /proc the clock is %q, want %q", got, processClock())
	}
	a, b := clockName([]byte("boot 1"), nil), clockName([]byte("boot 2"), nil)
	if a == b || len(a) != len("host 0123456789abcdef") {
		t.Errorf("two boots have the clocks %q and %q", a, b)
	}
}
