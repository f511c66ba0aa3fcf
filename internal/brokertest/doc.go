// Package brokertest gives tests a real mosquitto, an independent MQTT client,
// a TCP proxy that spoils connections, and a scripted fake broker.
//
// Everything is started with a testing.TB and ends with it: no process and no
// goroutine outlives the test. Nothing here sleeps to wait for something; it
// reads the broker's log or the socket.
//
// Methods that call t.Fatal (Start, Stop, Restart, WaitLog, WaitCount, Wait,
// Dial) belong to the test's own goroutine. All other methods may be called
// from several goroutines at once.
package brokertest
