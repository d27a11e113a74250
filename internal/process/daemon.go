package process

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"limpet/internal/errlog"
)

// daemonEnv tells the program that it is the one in the background; descriptor 3
// is then a pipe to the one in the foreground.
const daemonEnv = "LIMPET_DAEMON"

// inBackground reports whether this process was started by detach, and takes its pipe.
func inBackground() (ready *os.File, ok bool) {
	if os.Getenv(daemonEnv) != "1" {
		return nil, false
	}
	os.Unsetenv(daemonEnv)
	syscall.CloseOnExec(3)
	return os.NewFile(3, "ready"), true
}

// detach starts the program again in a session of its own and waits until that one
// serves. It returns the exit code: 0, or that of a program that failed, whose
// messages went to this standard error.
func detach(con *Console) int {
	fail := func(call string, err error) int {
		con.Print(errlog.Emerg, call+"() failed "+errlog.Errno(err))
		return 1
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fail("pipe", err)
	}
	exe, err := os.Executable()
	if err != nil {
		return fail("readlink", err)
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), daemonEnv+"=1")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fail("fork", err)
	}
	w.Close()
	if n, _ := r.Read(make([]byte, 1)); n == 1 {
		return 0
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	return 1
}

// redirectStderr sends standard error, where the Go runtime writes of its death,
// to the error log, as nginx does; a log that is standard error stays.
func redirectStderr(path string) {
	if path == "" {
		return
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil { // the terminal is let go all the same
		f, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err == nil {
		unix.Dup3(int(f.Fd()), 2, 0)
		f.Close()
	}
}
