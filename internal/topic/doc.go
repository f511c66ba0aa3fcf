// Package topic holds the rules for MQTT topic names and filters: which are legal, what a filter matches, how filters
// relate to each other, and two trees that answer those questions for many of them at once.
//
// A name is what a message is published to: levels with slashes between them, any level may be empty, so "/", "a//b" and
// "a/" are three different names of two, three and two levels. A filter is what one subscribes to: a name in which
// a whole level may be "+" (any one level) and the last may be "#" (the level before it and everything below).
// A filter whose first level is a wildcard matches no name that starts with "$" (MQTT 3.1.1, 4.7.2). Names are compared
// byte for byte; nothing is trimmed, folded or normalised.
//
// The package is pure: no goroutines, no clock, no logging, nothing kept between calls, and every function may be called
// from anywhere. Only [Trie] and [Names] have state, and they belong to one goroutine or one lock.
//
// [CheckName] and [CheckFilter] are the doors. Behind them everything else takes its arguments as checked. On other
// strings it does not panic, and all of it agrees: a level that only contains a wildcard character, such as "a+", and
// a "#" that is not last are ordinary levels, which no legal name has.
package topic
