// Known is true for a type that says which values there are: false for unknown, any, and any string or number.
export type Known<T> = unknown extends T ? false : string extends T ? false : number extends T ? false : true;

// Is is true where two types are the same.
export type Is<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

// typed compiles only with true.
export function typed<_ extends true>() {}
