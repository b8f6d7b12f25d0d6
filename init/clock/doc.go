// Package clock keeps the node's time: a floor below which it never is, NTP above it.
//
// The order in PID 1:
//
//  1. Trusted, before anything else: is the RTC's time believable at all?
//  2. Floor, once the state partition is mounted: a board without an RTC starts in
//     1970, where no certificate is valid; the floor is the later of the build time
//     and the time last saved. Hold keeps it so when something sets the clock back.
//  3. Start, once the network was started: NTP in the background.
//  4. WaitSynced, only where Trusted said no and before any certificate is made.
//  5. Save at shutdown, so that the next floor is as late as can be.
//
// What it does not promise: that the time is right when WaitSynced was not called or
// gave up; that it never goes back (a first NTP answer may step it back, but not to long
// before the build time).
package clock
