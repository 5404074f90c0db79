package loop

import "iter"

const (
	pageBits = 9 // a page of pointers is 4 KiB
	pageSize = 1 << pageBits
)

// A Table holds what a loop knows of its descriptors, by key. It grows without being
// copied, and where no key of a page is in use there is no memory for it. The zero Table
// is empty.
type Table[T any] struct{ pages []*[pageSize]*T }

// Get returns nil if there is nothing.
func (t *Table[T]) Get(key int32) *T {
	if p := uint32(key) >> pageBits; p < uint32(len(t.pages)) && t.pages[p] != nil {
		return t.pages[p][key%pageSize]
	}
	return nil
}

// Set sets what Get returns for key, which is not negative; nil is nothing.
func (t *Table[T]) Set(key int32, v *T) {
	p := int(key) >> pageBits
	for p >= len(t.pages) {
		t.pages = append(t.pages, nil)
	}
	if t.pages[p] == nil {
		t.pages[p] = new([pageSize]*T)
	}
	t.pages[p][key%pageSize] = v
}

// All returns everything that is there, in the order of the keys. Meanwhile the Table
// may be changed.
func (t *Table[T]) All() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for p := 0; p < len(t.pages); p++ {
			if t.pages[p] == nil {
				continue
			}
			for _, v := range t.pages[p] {
				if v != nil && !yield(v) {
					return
				}
			}
		}
	}
}
