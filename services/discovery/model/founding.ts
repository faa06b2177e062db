// SPDX-License-Identifier: Apache-2.0
/**
 * Who founds a cluster when several machines with the same preseed wake up together (RULES.md 5): single-decree Paxos among the
 * machines that are preseeded as servers, with the majority of the declared size as quorum. Timeouts decide when somebody tries
 * again, never who is right. The signed votes of a majority are the formation certificate, which every joiner is shown.
 *
 * An elector says with each answer what has to be kept. Whoever drives it stores that durably (write, fsync, rename, fsync of the
 * folder) before anything of the answer is sent: an elector that forgets a promise can elect a second founder
 * (test/sim/founding.test.ts has the control). What is safe, and what nobody can make safe: ADR-0019.
 */
import { NodeId } from "@debvisor/proto-events/primitives";
import { z } from "zod";

/** How many servers a cluster is declared to have. */
export const ClusterSize = z.union([z.literal(1), z.literal(3), z.literal(5)]);
export type ClusterSize = z.output<typeof ClusterSize>;

const Ballot = z.strictObject({ round: z.number().int().min(1), node: NodeId });
export type Ballot = z.output<typeof Ballot>;

/** What is decided: who founds, and the random id of that formation. */
const Founder = z.strictObject({ node: NodeId, formation: z.string().regex(/^[0-9a-f]{32}$/) });
export type Founder = z.output<typeof Founder>;

const Vote = z.strictObject({ ballot: Ballot, founder: Founder });
export type Vote = z.output<typeof Vote>;

const SignedVote = z.strictObject({ voter: NodeId, signature: z.string().min(1).max(200) });

/** The formation certificate: a majority voted for this founder in this ballot. */
export const Formation = z.strictObject({
  cluster: z.string().min(1).max(63),
  size: ClusterSize,
  ...Vote.shape,
  votes: z.array(SignedVote).min(1).max(5),
});
export type Formation = z.output<typeof Formation>;

/** What an elector must not forget. `voters` are the servers that it has met, itself included. */
export const KeptPromises = z.strictObject({
  version: z.literal(1),
  promised: Ballot.nullable(),
  accepted: Vote.nullable(),
  voters: z.array(NodeId).max(5),
  formed: Formation.nullable(),
});
export type KeptPromises = z.output<typeof KeptPromises>;

/** What electors tell each other, once both have proved that they belong to the same cluster. */
export const FoundingMessage = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("prepare"), ballot: Ballot }),
  z.strictObject({ kind: z.literal("promise"), ballot: Ballot, accepted: Vote.nullable() }),
  z.strictObject({ kind: z.literal("refuse"), ballot: Ballot, promised: Ballot }),
  z.strictObject({ kind: z.literal("accept"), vote: Vote }),
  z.strictObject({ kind: z.literal("accepted"), vote: Vote, signature: z.string().min(1).max(200) }),
  z.strictObject({ kind: z.literal("formed"), formation: Formation }),
]);
export type FoundingMessage = z.output<typeof FoundingMessage>;

/** What has to be done: `keep` first, durably, and only then the rest. */
export interface Effects {
  readonly keep?: KeptPromises;
  /** To the sender of the message. */
  readonly reply?: FoundingMessage;
  /** To every voter, this one included. */
  readonly broadcast?: FoundingMessage;
  /** Two formations of one cluster id exist. They are never merged; somebody has to be told. */
  readonly split?: Formation;
  /** More servers are preseeded than the cluster is declared to have. No founder is chosen until that is put right. */
  readonly tooMany?: string;
}

/** What an elector needs besides its memory. */
export interface ElectorOptions {
  readonly cluster: string;
  readonly size: ClusterSize;
  readonly node: string;
  /** Undefined on the first start. */
  readonly kept: KeptPromises | undefined;
  /** A random id for a formation, 128 bits as 32 hexadecimal digits. */
  newFormation(): string;
  /** Signs in this node's name. */
  sign(text: string): string;
  /** Whether a node signed the text. */
  verify(node: string, text: string, signature: string): boolean;
}

/** One machine's part in choosing the founder: proposer and acceptor in one. No clock and no network in it. */
export class Elector {
  readonly #options: ElectorOptions;
  #kept: KeptPromises;
  /** The ballot under way that this elector proposed. Forgotten in a crash, without harm. */
  #proposal: Proposal | undefined;
  /** Highest round that it has heard of. */
  #round: number;

  constructor(options: ElectorOptions) {
    this.#options = options;
    this.#kept = options.kept ?? {
      version: 1,
      promised: null,
      accepted: null,
      voters: [options.node],
      formed: null,
    };
    this.#round = this.#kept.promised?.round ?? 0;
  }

  /** The decision as far as this elector knows it. */
  get formed(): Formation | undefined {
    return this.#kept.formed ?? undefined;
  }

  /** Tries to found: a new ballot, higher than any that it has heard of. Nothing once a founder is known. */
  propose(): Effects {
    if (this.#kept.formed) return { broadcast: { kind: "formed", formation: this.#kept.formed } };
    this.#round++;
    const ballot = { round: this.#round, node: this.#options.node };
    this.#proposal = { ballot, promises: new Map(), votes: new Map(), vote: undefined };
    // Its own promise is kept first: after a crash the same ballot would be used again, for another founder (ADR-0019).
    this.#kept = { ...this.#kept, promised: ballot };
    return { keep: this.#kept, broadcast: { kind: "prepare", ballot } };
  }

  /** Takes a message of an elector that has proved who it is; `from` is its node id. */
  receive(from: string, message: FoundingMessage): Effects {
    if (message.kind === "formed") return this.#learn(message.formation);
    if (this.#kept.formed) return { reply: { kind: "formed", formation: this.#kept.formed } };
    const met = this.#kept.voters.includes(from);
    if (!met && this.#kept.voters.length >= this.#options.size) return { tooMany: from };
    if (!met) this.#kept = { ...this.#kept, voters: [...this.#kept.voters, from] };
    const effects = this.#answer(from, message);
    return met ? effects : { keep: this.#kept, ...effects };
  }

  #answer(from: string, message: Exclude<FoundingMessage, { kind: "formed" }>): Effects {
    if (message.kind === "prepare") return this.#promise(message.ballot);
    if (message.kind === "accept") return this.#accept(message.vote);
    if (message.kind === "promise") return this.#count(from, message.ballot, message.accepted);
    if (message.kind === "accepted") return this.#tally(from, message.vote, message.signature);
    this.#round = Math.max(this.#round, message.promised.round);
    return {};
  }

  #promise(ballot: Ballot): Effects {
    const { promised, accepted } = this.#kept;
    this.#round = Math.max(this.#round, ballot.round);
    if (promised && compareBallots(ballot, promised) < 0) return { reply: { kind: "refuse", ballot, promised } };
    this.#kept = { ...this.#kept, promised: ballot };
    return { keep: this.#kept, reply: { kind: "promise", ballot, accepted } };
  }

  #accept(vote: Vote): Effects {
    const { ballot } = vote;
    const { promised, accepted } = this.#kept;
    this.#round = Math.max(this.#round, ballot.round);
    if (promised && compareBallots(ballot, promised) < 0) return { reply: { kind: "refuse", ballot, promised } };
    // One ballot, one founder: a proposer that says two things is refused, not believed.
    const same = accepted !== null && compareBallots(ballot, accepted.ballot) === 0;
    if (same && !isSameFounder(vote.founder, accepted.founder))
      return { reply: { kind: "refuse", ballot, promised: ballot } };
    this.#kept = { ...this.#kept, promised: ballot, accepted: vote };
    const signature = this.#options.sign(this.#text(vote, this.#options.node));
    return { keep: this.#kept, reply: { kind: "accepted", vote, signature } };
  }

  #count(from: string, ballot: Ballot, accepted: Vote | null): Effects {
    const proposal = this.#proposal;
    if (!proposal || proposal.vote || compareBallots(ballot, proposal.ballot) !== 0) return {};
    proposal.promises.set(from, accepted);
    if (proposal.promises.size < quorumOf(this.#options.size)) return {};
    // What may have been decided already has to be decided again: the vote of the highest ballot among the answers.
    const earlier = [...proposal.promises.values()]
      .filter((vote) => vote !== null)
      .sort((a, b) => compareBallots(b.ballot, a.ballot))[0];
    const founder = earlier?.founder ?? { node: this.#options.node, formation: this.#options.newFormation() };
    proposal.vote = { ballot, founder };
    return { broadcast: { kind: "accept", vote: proposal.vote } };
  }

  #tally(from: string, vote: Vote, signature: string): Effects {
    const proposal = this.#proposal;
    if (!proposal?.vote || compareBallots(vote.ballot, proposal.ballot) !== 0) return {};
    if (!this.#options.verify(from, this.#text(proposal.vote, from), signature)) return {};
    proposal.votes.set(from, signature);
    if (proposal.votes.size < quorumOf(this.#options.size)) return {};
    const { cluster, size } = this.#options;
    const votes = [...proposal.votes].map(([voter, signed]) => ({ voter, signature: signed }));
    return this.#learn({ cluster, size, ...proposal.vote, votes });
  }

  #learn(formation: Formation): Effects {
    const { cluster, size, verify } = this.#options;
    const { formed } = this.#kept;
    if (formed?.founder.formation === formation.founder.formation) return {};
    // Another formation of this cluster id is a split whatever size it was made for; only one for our size can be adopted.
    const context = { cluster, size: formed ? formation.size : size, verify };
    if (formationFault(formation, context) !== undefined) return {};
    if (formed) return { split: formation };
    this.#kept = { ...this.#kept, formed: formation };
    return { keep: this.#kept, broadcast: { kind: "formed", formation } };
  }

  #text(vote: Vote, voter: string): string {
    return voteText(this.#options.cluster, this.#options.size, vote, voter);
  }
}

interface Proposal {
  readonly ballot: Ballot;
  readonly promises: Map<string, Vote | null>;
  readonly votes: Map<string, string>;
  vote: Vote | undefined;
}

/** How many votes decide: more than half of the declared size. */
export function quorumOf(size: ClusterSize): number {
  return Math.floor(size / 2) + 1;
}

/** What a certificate has to be checked against. */
export interface FormationContext {
  readonly cluster: string;
  readonly size: ClusterSize;
  verify(node: string, text: string, signature: string): boolean;
}

/** Why a formation certificate proves nothing for this cluster, in one clause; undefined when it does. */
export function formationFault(formation: Formation, { cluster, size, verify }: FormationContext): string | undefined {
  if (formation.cluster !== cluster) return `it belongs to cluster ${formation.cluster}`;
  if (formation.size !== size) return `it was made for ${formation.size} servers, not ${size}`;
  const voters = new Set(formation.votes.map(({ voter }) => voter));
  if (voters.size !== formation.votes.length) return "a voter is in it twice";
  if (voters.size < quorumOf(size)) return `it has ${voters.size} votes of the ${quorumOf(size)} that decide`;
  const { ballot, founder } = formation;
  const forged = formation.votes.find(
    ({ voter, signature }) => !verify(voter, voteText(cluster, size, { ballot, founder }, voter), signature),
  );
  return forged && `the vote of ${forged.voter} is not signed by it`;
}

/** What a voter signs. */
export function voteText(cluster: string, size: ClusterSize, { ballot, founder }: Vote, voter: string): string {
  return JSON.stringify([
    ...["debvisor formation vote 1", cluster, size, ballot.round, ballot.node],
    ...[founder.node, founder.formation, voter],
  ]);
}

/** By round, then by node id; negative when `a` comes first. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.round !== b.round) return a.round - b.round;
  return a.node < b.node ? -1 : Number(a.node > b.node);
}

function isSameFounder(a: Founder, b: Founder): boolean {
  return a.node === b.node && a.formation === b.formation;
}

const FIRST_WAIT_MS = { min: 50, max: 300 };
const LONGEST_WAIT_MS = 5_000;

/**
 * How long to wait before trying to found, in milliseconds: 50 to 300 at first, doubling with each attempt up to 5,000.
 * `random` is in [0, 1).
 */
export function proposalWaitMs(attempt: number, random: number): number {
  const { min, max } = FIRST_WAIT_MS;
  return Math.min(LONGEST_WAIT_MS, (min + random * (max - min)) * 2 ** Math.min(attempt, 16));
}
