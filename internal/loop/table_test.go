package loop

import (
	"slices"
	"testing"
)

func TestTable(t *testing.T) {
	t.Parallel()
	var tab Table[int]
	a, b := new(int), new(int)
	tab.Set(5, a)
	tab.Set(70_000, b)
	for key, want := range map[int32]*int{5: a, 70_000: b, 0: nil, 600: nil, 70_001: nil, 1 << 30: nil, -1: nil} {
		if got := tab.Get(key); got != want {
			t.Errorf("%d: %p, want %p", key, got, want)
		}
	}
	if got := slices.Collect(tab.All()); !slices.Equal(got, []*int{a, b}) {
		t.Errorf("all are %v", got)
	}
	for range tab.All() {
		tab.Set(5, nil)
		break
	}
	if got := slices.Collect(tab.All()); !slices.Equal(got, []*int{b}) {
		t.Errorf("all are %v", got)
	}
	if tab.pages[1] != nil {
		t.Error("there is memory for a page that nobody needs")
	}
}
