// Package trial decides whether a boot is kept: of a new system in the other slot, or of a new configuration.
//
// Decide finds out what a boot is: nothing special; the trial of a slot; or the boot of the old slot after a trial that
// failed. In a trial the Gate watches the machine. If every condition holds unbroken for Hold the slot is committed;
// if not, the reason is recorded, the old slot is committed and the machine reboots.
//
//	machine API: attempt "armed" ──arm──▶ reboot
//	new system:  count the try, snapshot ──▶ "trying" ──gate passed──▶ commit ──▶ "good"
//	                                            ├─gate failed──▶ reason ──▶ commit the old slot ──▶ reboot
//	                                            └─panic, hang, power──▶ boot again, 3 times in all
//	old system:  restore the snapshot ──▶ "rolled-back" ──▶ commit
//
// Only two slots are ever committed: the one that runs, and the one that the boot control called the default when the
// machine booted. A slot that was not booted has proved nothing.
//
// The order of the writes is such that a power cut anywhere repeats the last arrow or none.
package trial
