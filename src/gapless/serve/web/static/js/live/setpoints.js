// The setpoints that a rig declares, beside the form that gives commands: limits, known arguments, what is beyond them.

/** Return the words under the arguments of a command that set a declared setpoint: {ARGUMENT: words}. */
export function limitsOf(setpoints, device, command) {
  const found = specsOf(setpoints, device, command);
  return Object.fromEntries(found.map(([name, spec]) => [spec.value_argument, `setpoint ${name}: ${range(spec)}`]));
}

/** Return the values that arguments of a command have in declared setpoints: {ARGUMENT: [text]}. */
export function choicesOf(setpoints, device, command) {
  const found = {};
  for (const [, spec] of specsOf(setpoints, device, command)) {
    for (const [name, value] of Object.entries(spec.arguments)) (found[name] ??= new Set()).add(String(value));
  }
  return Object.fromEntries(Object.entries(found).map(([name, values]) => [name, [...values]]));
}

/** Return words for each setpoint whose limits an order leaves: "900 is above the setpoint heater: 0 to 600 degC". */
export function beyondOf(setpoints, { device, name: command, arguments: given }) {
  return specsOf(setpoints, device, command)
    .filter(([, spec]) => Object.entries(spec.arguments).every(([name, value]) => given[name] === value))
    .flatMap(([name, spec]) => {
      const value = given[spec.value_argument];
      const side = sideOf(value, spec);
      return side === null ? [] : [`${value} is ${side} the setpoint ${name}: ${range(spec)}. The run refuses it.`];
    });
}

function sideOf(value, { low, high }) {
  if (low !== null && value < low) return "below";
  return high !== null && value > high ? "above" : null;
}

function specsOf(setpoints, device, command) {
  return Object.entries(setpoints).filter(([, spec]) => spec.device === device && spec.command === command);
}

function range({ low, high, unit }) {
  return `${low ?? "…"} to ${high ?? "…"} ${unit}`;
}
