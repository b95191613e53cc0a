// Exercise lets a learner write the core of a step, or of a chapter beyond the steps. An exercise is a hole in the finished code: "start" takes the bodies of
// some functions out of the learner's tree, "check" runs the tests that say whether the new ones are right, "hint" helps,
// and "solution" shows the course's version or puts it back. "progress" sums up.
//
// The course's own side of it: "sync" makes the texts of the solutions from the code, and "prove" shows that each exercise
// is what it says: its starter builds, exactly the tests that it names fail, the solution passes, and each mistake is
// recognised.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const usage = `Usage, in the folder of a step or chapter, with the number of an exercise or for all of the step:

  exercise start [N]          take the course's version out, to write your own
  exercise check [N]          run its tests
  exercise hint N             the next hint
  exercise solution [-put] N  show the course's version, or put it in
  exercise list               what there is to write
  exercise sheet [-answers]   the questions of the step's demo and exercises, for groff -ms

Anywhere in the course:

  exercise progress           which exercises are to do, failing, done by you
  exercise pieces             in a sentence, how much of the program is yours; in a step's folder, of that step's program
  exercise mine               fails unless all that you have written passes its tests
  exercise sync [-check]      make the solutions' texts from the code, or compare them
  exercise prove [-all] [-fix] [N]
                              prove that all exercises are what they say, or one of the step; with -fix, correct
                              the lists of what else fails; with -all or N, make each mistake, not only the first
  exercise mutants [-n N] [-seed S] [STEP ...]
                              make N faults in the core of each step, and say which no test notices
`

// errFailed is the error of a command that has said already what is wrong.
var errFailed = errors.New("failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	case errors.Is(err, errFailed):
		os.Exit(1)
	case err != nil:
		fmt.Fprintf(os.Stderr, "exercise: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return flag.ErrHelp
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(new(strings.Builder)) // the usage says it all
	count, seed := flags.Int("n", 0, ""), flags.Uint64("seed", uint64(time.Now().Unix()), "")
	answers := flags.Bool("answers", false, "")
	put, check := flags.Bool("put", false, ""), flags.Bool("check", false, "")
	all, fix := flags.Bool("all", false, ""), flags.Bool("fix", false, "")
	if flags.Parse(args[1:]) != nil {
		return flag.ErrHelp
	}
	root, step, err := find()
	if err != nil {
		return err
	}
	every, err := steps(root)
	if err != nil {
		return err
	}
	list, err := exercises(root, every...)
	if err != nil {
		return err
	}
	switch args[0] {
	case "progress":
		return progress(root, list)
	case "pieces":
		return pieces(root, upTo(list, step))
	case "mine":
		return mine(ctx, root, list)
	case "sync":
		return syncSolutions(root, list, *check)
	case "mutants":
		chosen := every
		if flags.NArg() > 0 {
			chosen = flags.Args()
		}
		return mutants(ctx, root, chosen, *count, *seed)
	case "prove":
		if err := syncSolutions(root, list, true); err != nil {
			return err
		}
		if flags.NArg() > 0 { // in a step, to write an exercise
			if list, err = choose(list, step, flags.Args()); err != nil {
				return err
			}
		}
		return prove(ctx, root, list, *all || flags.NArg() > 0, *all, *fix)
	}
	list, err = choose(list, step, flags.Args())
	if err != nil {
		return err
	}
	switch one := flags.NArg() == 1; {
	case args[0] == "sheet":
		return sheet(ctx, os.Stdout, root, step, list, *answers)
	case args[0] == "list":
		return show(root, list)
	case args[0] == "start":
		return start(root, list, one)
	case args[0] == "check":
		return checkStep(ctx, root, list, one)
	case (args[0] == "hint" || args[0] == "solution") && flags.NArg() == 0:
		return fmt.Errorf("which one? make %s EX=1", args[0])
	case args[0] == "hint" && one:
		return hint(root, list[0])
	case args[0] == "solution" && one:
		return showSolution(root, list[0], *put)
	}
	return flag.ErrHelp
}

// find returns the course's root, and the step or chapter that the working folder belongs to, "" for none.
func find() (root, step string, err error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", "", err
	}
	for root = dir; ; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.work")); err == nil {
			break
		}
		if root == filepath.Dir(root) {
			return "", "", errors.New("this folder is not in the course: there is no go.work above it")
		}
	}
	below, err := filepath.Rel(root, dir)
	if err != nil {
		return "", "", err
	}
	every, err := steps(root)
	if err != nil {
		return "", "", err
	}
	for _, s := range every { // a chapter comes after its step
		if below == s || strings.HasPrefix(below, s+"/") {
			step = s
		}
	}
	return root, step, nil
}

// upTo returns the exercises whose code the programs of the step use: its own, those of its chapters, and those of the steps
// before. It returns all if step is "".
func upTo(list []*exercise, step string) []*exercise {
	if step == "" {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(e *exercise) bool { return programs(e.step) > programs(step) })
}

// choose returns the exercises of the step, or the one with the number.
func choose(list []*exercise, step string, args []string) (chosen []*exercise, err error) {
	for _, e := range list {
		if e.step == step {
			chosen = append(chosen, e)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("exercises belong to a step: do this in the folder of one, such as step1-relay, or of a chapter")
	}
	if len(args) == 0 {
		return chosen, nil
	}
	number := args[len(args)-1]
	number = number[strings.LastIndex(number, ".")+1:]
	for _, e := range chosen {
		if len(args) == 1 && strconv.Itoa(e.number) == number {
			return []*exercise{e}, nil
		}
	}
	return nil, fmt.Errorf("%s has no exercise %s: its exercises are 1 to %d", step, strings.Join(args, " "), chosen[len(chosen)-1].number)
}
