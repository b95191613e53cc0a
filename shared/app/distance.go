package app

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
