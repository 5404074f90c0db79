package engine

import (
	"maps"
	"reflect"
	"testing"
)

// Every field is added up, those that come later too, and neither summand changes.
func TestStatsAdd(t *testing.T) {
	t.Parallel()
	filled := func(n int64) Stats {
		var s Stats
		for field, v := range reflect.ValueOf(&s).Elem().Fields() {
			switch {
			case field.Type.Kind() == reflect.Int64:
				v.SetInt(n)
			default:
				v.Set(reflect.ValueOf(map[Reason]int64{Peer: n, Reason(n): n}))
			}
		}
		return s
	}
	a, b := filled(20), filled(3)
	sum := a.Add(b)
	for field, v := range reflect.ValueOf(sum).Fields() {
		if field.Type.Kind() == reflect.Int64 {
			if v.Int() != 23 {
				t.Errorf("%s: 20 and 3 are %d", field.Name, v.Int())
			}
			continue
		}
		if got, want := v.Interface(), (map[Reason]int64{Peer: 23, 20: 20, 3: 3}); !maps.Equal(got.(map[Reason]int64), want) {
			t.Errorf("%s: %v, want %v", field.Name, got, want)
		}
	}
	if !reflect.DeepEqual(a, filled(20)) || !reflect.DeepEqual(b, filled(3)) {
		t.Error("a summand has changed")
	}
	if got := (Stats{}).Add(a); !reflect.DeepEqual(got, a) {
		t.Errorf("nothing and %+v are %+v", a, got)
	}
}
