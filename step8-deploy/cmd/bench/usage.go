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

// This file measures how much processor time and memory a program uses.

// cpu returns the processor time that the process and its children have used so far, in user
// space and in the kernel. Children that have ended count as well, if they were waited for.
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

// tick is the unit of /proc/PID/stat, USER_HZ: 10 ms on all of Linux.
const tick = 10 * time.Millisecond

// stat returns the fields of /proc/PID/stat from the third on: the second is the program's
// name in parentheses (proc(5)).
func stat(pid int) ([][]byte, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	return bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]), nil
}

// tree returns the process and those of its descendants that run the same program: a worker
// counts, but an nft that is about to end does not.
func (p *process) tree() []int {
	all := []int{p.cmd.Process.Pid}
	program, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", all[0]))
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	slices.SortFunc(dirs, func(a, b string) int { return number(a) - number(b) })
	for again := true; again; {
		again = false
		for _, dir := range dirs {
			fields, err := stat(number(dir))
			if err != nil || slices.Contains(all, number(dir)) { // an error means that it has ended
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

// peak returns the peak memory of a program's processes, in bytes: each process's own memory,
// and the program's code that is in memory, once.
func (p *process) peak() (int, error) { return p.memory("VmHWM") }

// memory is like peak, for a line of /proc/PID/status: VmRSS is the memory in use now, and
// VmHWM its peak (proc(5)).
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

// kilobytes returns the value of a line of /proc/PID/status, in bytes.
func kilobytes(status []byte, line string) (int, error) {
	var kb int
	_, rest, _ := bytes.Cut(status, []byte(line+":"))
	if _, err := fmt.Sscanf(string(rest), "%d kB", &kb); err != nil {
		return 0, fmt.Errorf("no %s: %w", line, err)
	}
	return kb << 10, nil
}
