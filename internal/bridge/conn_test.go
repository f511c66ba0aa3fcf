package bridge

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"
)

// gatedWire is a wire over a connection that announces each write, and ends it as the test says.
func gatedWire(t *testing.T, framed bool) (*wire, *gated) {
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	g := &gated{Conn: near, entered: make(chan int), pass: make(chan writeEnd)}
	w := newWire(stream{Conn: g, sock: newSock(near, defaultTiming(time.Minute)), framed: framed}, 1000)
	t.Cleanup(func() {
		w.fail(errLeft)
		<-w.ended
	})
	return w, g
}

type gated struct {
	net.Conn
	entered chan int
	pass    chan writeEnd
}

type writeEnd struct {
	n   int
	err error
}

func (g *gated) Write(p []byte) (int, error) {
	g.entered <- len(p)
	end := <-g.pass
	return end.n, end.err
}

// offer publishes to "a" without payload: 5 bytes at QoS 0, 7 at QoS 1.
func offer(w *wire, qos byte) *Publication {
	p := &Publication{msg: Message{Topic: "a", QoS: qos}, done: make(chan struct{})}
	w.offer(p)
	return p
}

// What comes while a write is under way leaves together in the next one.
func TestPacketsShareWrites(t *testing.T) {
	w, g := gatedWire(t, false)
	packet := []byte{typePingreq << 4, 0}
	w.Write(packet)
	if got := <-g.entered; got != 2 {
		t.Errorf("first write: got %d bytes, want 2", got)
	}
	for range 100 {
		w.Write(packet)
	}
	g.pass <- writeEnd{2, nil}
	if got := <-g.entered; got != 200 {
		t.Errorf("second write: got %d bytes, want 200", got)
	}
	g.pass <- writeEnd{200, nil}
}

// A SUBSCRIBE and the message behind it leave together, so that nothing of ours can get in between.
func TestMessageFollowsItsSubscribe(t *testing.T) {
	w, g := gatedWire(t, false)
	w.follow(&Publication{msg: Message{Topic: "a", QoS: 1}, done: make(chan struct{})})
	w.Write([]byte{typePingreq << 4, 0})
	if got := <-g.entered; got != 2 {
		t.Errorf("first write: got %d bytes, want 2: what is to follow a SUBSCRIBE follows nothing else", got)
	}
	subscribe := []byte{typeSubscribe<<4 | 2, 6, 0, 1, 0, 1, 'a', 1}
	w.Write(subscribe)
	w.waitFollowed()
	g.pass <- writeEnd{2, nil}
	if got, want := <-g.entered, len(subscribe)+7; got != want {
		t.Errorf("second write: got %d bytes, want %d", got, want)
	}
	g.pass <- writeEnd{len(subscribe) + 7, nil}
}

// The outcome depends on how far the bytes got, to the byte.
func TestOutcomeFollowsTheBytes(t *testing.T) {
	for _, framed := range []bool{false, true} {
		w, g := gatedWire(t, framed)
		first := offer(w, 0)
		<-g.entered // alone in the first write
		cut0 := offer(w, 0)
		whole1 := offer(w, 1)
		cut1 := offer(w, 1)
		never := &Publication{done: make(chan struct{})}
		select {
		case <-first.done:
			t.Fatal("QoS 0 has an outcome before its bytes have left")
		default:
		}
		g.pass <- writeEnd{5, nil}
		if err := first.Wait(within(t)); err != nil {
			t.Errorf("written: got %v, want nil", err)
		}
		<-g.entered
		late := offer(w, 1) // never part of a write
		w.follow(never)     // never even encoded
		// The first two packets and all but one byte of the third.
		g.pass <- writeEnd{5 + 7 + 6, errors.New("cut")}
		want := map[*Publication]error{cut0: nil, whole1: ErrUnknown, cut1: ErrNotSent, late: ErrNotSent, never: ErrNotSent}
		if framed {
			want[cut1] = ErrUnknown // a frame may have been read in part
		}
		for p, err := range want {
			if got := p.Wait(context.Background()); got != err {
				t.Errorf("framed %t, ends at %d: got %v, want %v", framed, p.end, got, err)
			}
		}
	}
}

// A packet too many of those that nothing holds back, with a peer that reads nothing.
func TestUnreadAcknowledgementsEndTheLink(t *testing.T) {
	w, g := gatedWire(t, false)
	ack := make([]byte, 1<<16)
	ack[0] = typePuback << 4
	w.Write(ack)
	<-g.entered
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = w.Write(ack)
	}
	if err != errDown || n > hardPending>>16+2 {
		t.Errorf("after %d packets: got %v", n, err)
	}
	g.pass <- writeEnd{0, errDown}
}

// publishPacket is a PUBLISH to "a" without payload.
func publishPacket(qos byte, id byte) []byte {
	if qos == 0 {
		return []byte{typePublish << 4, 3, 0, 1, 'a'}
	}
	return []byte{typePublish<<4 | qos<<1, 5, 0, 1, 'a', 0, id}
}
