// Package todo stands in the place of what a learner is about to write: 'make start' puts it there. The course's own
// programs have none of it.
package todo

import (
	"fmt"
	"os"
)

// Exercise ends the process, and says which exercise is missing. It ends it at once: a panic would have deferred calls wait
// for what is missing. It never returns; its result is there for the line "panic(todo.Exercise(...))", after which the
// compiler asks for no return.
func Exercise(id string) string {
	fmt.Fprintf(os.Stderr, "exercise %s is not written yet\n", id)
	os.Exit(1)
	return ""
}
