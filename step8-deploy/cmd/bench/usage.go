package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// tick is the unit of /proc/PID/stat, USER_HZ: 10 ms on all of Linux.
const tick = 10 * time.Millisecond

// cpu returns the processor time that the process has used so far, in user space
// and in the kernel.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field is the program's name in parentheses. Fields 14 and 15 are
	// the times (proc(5)).
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(string(f))
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}

// peak returns the most memory that the process has had in use, in bytes, with the
// program's own code as far as it is in memory.
func (p *process) peak() (int, error) { return p.memory("VmHWM") }

// memory returns a line of /proc/PID/status in bytes: VmRSS is the memory in use
// now, VmHWM the most that it was (proc(5)).
func (p *process) memory(line string) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	var kb int
	_, rest, _ := bytes.Cut(status, []byte(line+":"))
	if _, err := fmt.Sscanf(string(rest), "%d kB", &kb); err != nil {
		return 0, fmt.Errorf("no %s of process %d: %w", line, p.cmd.Process.Pid, err)
	}
	return kb << 10, nil
}
