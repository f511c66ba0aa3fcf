// Package access says who a caller is and what the caller may do: principals, their rights, keys, tokens, certificates,
// tickets and limits. It knows nothing of HTTP beyond credentials as strings.
//
// [Authenticator] is the door. Login takes what a caller shows and gives a [Principal] with [Rights]; Revalidate says
// what has become of a principal since. Rights decide, and are pure: they never change, hold no lock and may be asked
// from anywhere.
//
// What is not granted is refused, and deny beats every grant. A filter is granted if it lies inside one subscribe
// filter as a whole (containment: "sensors/+" does not grant "sensors/#"), and refused if it lies inside one deny filter
// as a whole. A filter that only overlaps a deny is granted, and MayReceive keeps the denied messages back, one by one:
// live, replayed, retained, snapshot, listed and history messages and replies alike.
//
// Every refusal of credentials is [ErrUnauthenticated], whatever was wrong. Why is for the log alone: see [Reason].
//
// Locks: Tickets, Rates, Streams and Logins have one each, held for a few steps and while no other is taken. Login,
// Revalidate and all decisions take none. To read a file or a JWKS again takes that source's lock, for as long as the
// reading takes, and then, for a moment, the one that guards what is in force. [Cache] has no lock and belongs to one
// goroutine or one lock.
package access
