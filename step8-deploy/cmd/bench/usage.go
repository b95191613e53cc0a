package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"
)

// tick is the unit of /proc/PID/stat, USER_HZ: 10 ms on all of Linux.
const tick = 10 * time.Millisecond

// cpu returns the processor time that the process and those that it has started have
// used so far, in user space and in the kernel. Those that have ended count as well, if
// they were waited for.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.tree() {
		fields, err := stat(pid)
		if err != nil {
			return 0, err
		}
		for _, f := range fields[11:15] { // utime, stime, cutime, cstime
			n, err := strconv.Atoi(string(f))
			if err != nil {
				return 0, err
			}
			sum += time.Duration(n) * tick
		}
	}
	return sum, nil
}

// stat returns the fields of /proc/PID/stat from the third on: the second is the program's
// name in parentheses (proc(5)).
func stat(pid int) ([][]byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]), nil
}

// tree returns the process and all that it has started, as far as they run the same
// program: a worker counts, and an nft that is about to end does not.
func (p *process) tree() []int {
	all := []int{p.cmd.Process.Pid}
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", all[0]))
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	slices.SortFunc(dirs, func(a, b string) int { return number(a) - number(b) })
	for again := true; again; {
		again = false
		for _, dir := range dirs {
			fields, err := stat(number(dir))
			if err != nil || slices.Contains(all, number(dir)) { // err: it has ended
				continue
			}
			parent, _ := strconv.Atoi(string(fields[1]))
			if exe, _ := os.Readlink(dir + "/exe"); exe == program && slices.Contains(all, parent) {
				all, again = append(all, number(dir)), true
			}
		}
	}
	return all
}

func number(dir string) int {
	n, _ := strconv.Atoi(filepath.Base(dir))
	return n
}

// peak returns the most memory that the processes of a program have had in use, in
// bytes: what is each one's own, and once the program's code, as far as it is in memory.
func (p *process) peak() (int, error) { return p.memory("VmHWM") }

// memory is the same for a line of /proc/PID/status: VmRSS is the memory in use now,
// VmHWM the most that it was (proc(5)).
func (p *process) memory(line string) (int, error) {
	sum, code := 0, 0
	for i, pid := range p.tree() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if i > 0 && errors.Is(err, fs.ErrNotExist) {
			continue // it has just ended
		}
		if err != nil {
			return 0, err
		}
		all, err1 := kilobytes(status, line)
		file, err2 := kilobytes(status, "RssFile")
		if err := errors.Join(err1, err2); err != nil {
			return 0, fmt.Errorf("process %d: %w", pid, err)
		}
		sum, code = sum+all-file, max(code, file)
	}
	return sum + code, nil
}

// kilobytes returns what a line of /proc/PID/status says, in bytes.
func kilobytes(status []byte, line string) (int, error) {
	var kb int
	_, rest, _ := bytes.Cut(status, []byte(line+":"))
	if _, err := fmt.Sscanf(string(rest), "%d kB", &kb); err != nil {
		return 0, fmt.Errorf("no %s: %w", line, err)
	}
	return kb << 10, nil
}
