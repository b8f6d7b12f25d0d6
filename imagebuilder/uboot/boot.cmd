# Keelson's boot script; package imagebuilder/uboot says what it reads and writes.
# Not every board's U-Boot has setexpr or part: places are fixed numbers.
setenv ab_default
setenv ab_gen
setenv ab_try
setenv ab_left
setenv ab_tgen
setenv keelson_args
setenv kl_kernel @KERNEL@
setenv kl_initrd @INITRD@
setenv kl_fdt @FDT@
setenv kl_scratch @SCRATCH@
setenv kl_tree @DEVICE_TREE@
setenv kl_console
# A virtual machine of QEMU has its memory and its serial port elsewhere; its own addresses are good ones.
if test "${board}" = qemu-arm; then
  setenv kl_kernel ${kernel_addr_r}
  setenv kl_initrd ${ramdisk_addr_r}
  setenv kl_scratch ${pxefile_addr_r}
  setenv kl_tree firmware
  setenv kl_console " console=ttyAMA0"
fi
${devtype} dev ${devnum}
if ${devtype} read ${kl_scratch} @COMMITTED@ 8 && env import -c ${kl_scratch} 0x1000 ab_default ab_gen; then
  echo "keelson: boot state: default slot ${ab_default}"
else
  if ${devtype} read ${kl_scratch} @COPY@ 8 && env import -c ${kl_scratch} 0x1000 ab_default ab_gen; then
    echo "keelson: boot state: default slot ${ab_default}, by the copy: the first block is damaged"
  else
    echo "keelson: boot state: both blocks are damaged; taking slot a"
    setenv ab_default a
  fi
fi
setenv kl_slot ${ab_default}
if ${devtype} read ${kl_scratch} @TRIAL@ 8 && env import -c ${kl_scratch} 0x1000 ab_try ab_left ab_tgen; then
  setenv kl_n
  if test -n "${ab_gen}" && test "${ab_tgen}" = "${ab_gen}"; then
    if test "${ab_left}" = 3; then setenv kl_n 2; fi
    if test "${ab_left}" = 2; then setenv kl_n 1; fi
    if test "${ab_left}" = 1; then setenv kl_n 0; fi
  fi
  if test -n "${kl_n}"; then
    setenv ab_left ${kl_n}
    env export -c -s 0x1000 ${kl_scratch} ab_try ab_left ab_tgen
    # A try that could not be counted is not made.
    if ${devtype} write ${kl_scratch} @TRIAL@ 8; then
      setenv kl_slot ${ab_try}
      echo "keelson: trying slot ${ab_try}, tries left after this one: ${ab_left}"
    else
      echo "keelson: cannot count a try of slot ${ab_try}; taking slot ${kl_slot}"
    fi
  fi
fi
setenv kl_from ${devtype} ${devnum}:${distro_bootpart}
setenv kl_ok
echo "keelson: loading slot ${kl_slot}"
if load ${kl_from} ${kl_scratch} slot-${kl_slot}/boot.env && env import -t ${kl_scratch} ${filesize} keelson_args; then
  if load ${kl_from} ${kl_kernel} slot-${kl_slot}/linux; then
    if test "${kl_tree}" = firmware; then
      setenv kl_fdt ${fdt_addr}
      setenv kl_ok 1
    else
      if load ${kl_from} ${kl_fdt} slot-${kl_slot}/dtb/${fdtfile}; then setenv kl_ok 1; fi
    fi
  fi
fi
if test -n "${kl_ok}" && load ${kl_from} ${kl_initrd} slot-${kl_slot}/initrd.img; then
  setenv bootargs "${keelson_args} keelson.slot=${kl_slot}${kl_console}"
  booti ${kl_kernel} ${kl_initrd}:${filesize} ${kl_fdt}
fi
echo "keelson: slot ${kl_slot} cannot be started: write the image to the disk again; if this comes back, replace the disk. Resetting in 10 s"
sleep 10
reset
