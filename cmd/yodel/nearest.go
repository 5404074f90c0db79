package main

// nearest returns the word of known that word may be a slip of, "" if none is near: one
// letter in three may be wrong, missing, too many, or two exchanged.
func nearest(word string, known []string) (best string) {
	least := len(word)/3 + 1
	if len(word) > 64 {
		return ""
	}
	for _, k := range known {
		if d := slips(word, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// slips returns how many slips make b of a: the optimal string alignment distance.
func slips(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+differ(a[i], b[j]))
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

func differ(a, b byte) int {
	if a == b {
		return 0
	}
	return 1
}
