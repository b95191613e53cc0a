package app

// Distance returns how many characters must be put in, taken out or replaced to
// make one text the other (V. Levenshtein, 1965). It tells a mistyped name from
// one that is unknown. The time is that of len(a) × len(b): bound both.
func Distance(a, b string) int {
	row := make([]int, len(b)+1) // of a table: how far a[:i] is from b[:j]
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
