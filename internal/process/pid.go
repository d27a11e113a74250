package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"limpet/internal/errlog"
)

// writePid writes the pid file; it appears whole. Where the folder takes no new
// file (a single file mounted into a container), it is written in place.
func writePid(name string) error {
	text := []byte(strconv.Itoa(os.Getpid()) + "\n")
	tmp := fmt.Sprintf("%s.%d", name, os.Getpid())
	err := os.WriteFile(tmp, text, 0o644)
	if err == nil {
		if err = os.Rename(tmp, name); err != nil {
			os.Remove(tmp)
		}
	}
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, os.ErrPermission) {
		err = os.WriteFile(name, text, 0o644)
	}
	if err != nil {
		return fmt.Errorf(`open() "%s" failed %s`, name, errlog.Errno(err))
	}
	return nil
}

// removePid removes the pid file unless another process has taken it over.
func removePid(name string) {
	if text, err := os.ReadFile(name); err == nil && strings.TrimSpace(string(text)) == strconv.Itoa(os.Getpid()) {
		os.Remove(name)
	}
}

// Signal sends the signal that -s names to the process of a pid file. The error comes with the level that nginx gives it.
func Signal(pidFile, name string) (errlog.Level, error) {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return errlog.Error, fmt.Errorf(`open() "%s" failed %s`, pidFile, errlog.Errno(err))
	}
	word := strings.TrimRight(string(text), "\r\n")
	pid, err := strconv.Atoi(word)
	if err != nil || pid <= 0 {
		return errlog.Error, fmt.Errorf(`invalid PID number "%s" in "%s"`, word, pidFile)
	}
	sig := map[string]syscall.Signal{"stop": syscall.SIGTERM, "quit": syscall.SIGQUIT, "reopen": syscall.SIGUSR1, "reload": syscall.SIGHUP}[name]
	if err := syscall.Kill(pid, sig); err != nil {
		return errlog.Alert, fmt.Errorf("kill(%d, %d) failed %s", pid, int(sig), errlog.Errno(err))
	}
	return errlog.Notice, nil
}
