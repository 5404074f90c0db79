package rio

import (
	"io"
	"testing"
)

func TestHead(t *testing.T) {
	t.Parallel()
	h := &Head{Max: 7}
	for _, step := range []struct {
		write, kept string
		left        int64
	}{
		{"", "", 0},
		{"yodel", "yodel", 0},
		{": no such", "yodel: ", 7},
		{"", "yodel: ", 7},
		{"file", "yodel: ", 11},
	} {
		if n, err := io.WriteString(h, step.write); n != len(step.write) || err != nil {
			t.Errorf("%q: %d, %v", step.write, n, err)
		}
		if h.String() != step.kept || h.Left() != step.left {
			t.Errorf("after %q: %q and %d left, want %q and %d", step.write, h, h.Left(), step.kept, step.left)
		}
	}
	var none Head
	io.WriteString(&none, "x")
	if none.String() != "" || none.Left() != 1 {
		t.Errorf("the zero Head keeps %q, %d left", none.String(), none.Left())
	}
}
