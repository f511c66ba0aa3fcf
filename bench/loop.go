package main

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// loop reads many sockets with one thread: a goroutine for each would cost
// the machine more than the server under measurement does.
type loop struct {
	epoll int
	wake  [2]int // a pipe; closing it ends the loop
	done  chan struct{}

	mu    sync.Mutex // guards what is below, and the state of all readers
	peers map[int32]reader
}

// reader takes what a socket has. It is called with the loop's lock held. The
// bytes are valid during the call only. ended says why the socket is no more,
// nil when the other side closed it.
type reader interface {
	read(b []byte) error
	ended(err error)
}

func newLoop() (*loop, error) {
	ep, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	l := &loop{epoll: ep, done: make(chan struct{}), peers: map[int32]reader{}}
	if err := syscall.Pipe2(l.wake[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, err
	}
	if err := l.watch(l.wake[0]); err != nil {
		return nil, err
	}
	go l.run()
	return l, nil
}

func (l *loop) watch(fd int) error {
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

// add reads the socket from now on. early is what was read from it before.
func (l *loop) add(fd int, early []byte, r reader) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(early) > 0 {
		if err := r.read(early); err != nil {
			return err
		}
	}
	l.peers[int32(fd)] = r
	return l.watch(fd)
}

func (l *loop) run() {
	defer close(l.done)
	events := make([]syscall.EpollEvent, 256)
	buf := make([]byte, 256<<10)
	for {
		n, err := syscall.EpollWait(l.epoll, events, -1)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		l.mu.Lock()
		for _, e := range events[:n] {
			if int(e.Fd) == l.wake[0] {
				l.mu.Unlock()
				return
			}
			l.ready(int(e.Fd), buf)
		}
		l.mu.Unlock()
	}
}

// ready reads once: what is left makes the socket ready again.
func (l *loop) ready(fd int, buf []byte) {
	r, ok := l.peers[int32(fd)]
	if !ok {
		return
	}
	n, err := syscall.Read(fd, buf)
	switch {
	case errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR):
		return
	case err == nil && n > 0:
		if err = r.read(buf[:n]); err == nil {
			return
		}
	}
	r.ended(err)
	l.drop(fd)
}

// drop closes the socket. The lock is held.
func (l *loop) drop(fd int) {
	delete(l.peers, int32(fd))
	_ = syscall.Close(fd) // takes it out of epoll
}

// sync runs f while no reader runs.
func (l *loop) sync(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// close ends the loop and all sockets.
func (l *loop) close() {
	_ = syscall.Close(l.wake[1])
	<-l.done
	l.sync(func() {
		for fd := range l.peers {
			l.drop(int(fd))
		}
	})
	_ = syscall.Close(l.wake[0])
	_ = syscall.Close(l.epoll)
}

// detach takes the socket out of Go's own poller. It stays non-blocking.
func detach(c net.Conn) (int, error) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var fd int
	var dup error
	if err := raw.Control(func(s uintptr) {
		fd, dup = syscall.Dup(int(s))
	}); err != nil {
		return 0, err
	}
	if dup != nil {
		return 0, fmt.Errorf("dup: %w", dup)
	}
	syscall.CloseOnExec(fd)
	return fd, c.Close()
}
