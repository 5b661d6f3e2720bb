/** Finds what is typed in a text: the letters in order, best where words begin. Accents and case do not matter. */
export interface Hit {
  score: number
  /** Places of the letters that matched. */
  marks: number[]
}

const plain = (text: string) => [...text].map((c) => c.normalize('NFD')[0]?.toLowerCase() ?? c)

export function match(wanted: string, text: string): Hit | null {
  // First where words begin; where that leads nowhere, simply the next place of each letter.
  return attempt(wanted, text, true) ?? attempt(wanted, text, false)
}

function attempt(wanted: string, text: string, choosy: boolean): Hit | null {
  const letters = plain(wanted).filter((c) => c.trim())
  const within = plain(text)
  const marks: number[] = []
  let score = 0
  let from = 0
  for (const letter of letters) {
    let found = -1
    let best = -1
    for (let i = from; i < within.length; i++) {
      if (within[i] !== letter) continue
      const begins = i === 0 || !/[\p{L}\p{N}]/u.test(within[i - 1] ?? '')
      const worth = i === from && marks.length ? 3 : begins ? 2 : 0
      if (worth > best) {
        best = worth
        found = i
      }
      if (worth === 3 || !choosy) break
    }
    if (found < 0) return null
    score += best - (found - from) * 0.01
    marks.push(found)
    from = found + 1
  }
  return { score: score - within.length * 0.005, marks }
}
