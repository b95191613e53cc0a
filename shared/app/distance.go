package app

import "strings"

// Closest returns the one of names, which are in lower case, that a mistyped one is most
// likely meant to be, or "" if none is close: one byte or a third of them may differ, but
// not all. The mistyped one may come from anywhere: a long one is close to none.
func Closest(mistyped string, names []string) (closest string) {
	if len(mistyped) > 64 {
		return ""
	}
	least := 0
	for _, name := range names {
		d := Distance(strings.ToLower(mistyped), name)
		if d <= max(1, len(name)/3) && d < len(name) && (closest == "" || d < least) {
			closest, least = name, d
		}
	}
	return closest
}

// Distance returns how many bytes must be inserted, removed or replaced to turn one text
// into the other (V. Levenshtein, 1965). It serves to tell a mistyped name from an unknown
// one. The time grows with len(a) × len(b): bound both.
func Distance(a, b string) int {
	row := make([]int, len(b)+1) // row i of a table: the distance of a[:i] from b[:j]
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
