"""Statistics of words over several documents: each document is counted in a task of its own, the counts are joined,
two questions are asked of them side by side, a gang sums up over the whole vocabulary, and a switch picks the report.
"""

import re
from collections import Counter
from pathlib import Path

from flowc import FlowSpec, IncludeFile, Parameter, current, parallel, retry, step


def own_documents(context):
    """The documents beside this file; worked out when a run starts, so that the Plan holds no path of this machine."""
    return str(Path(__file__).parent / "data")


class WordCountFlow(FlowSpec):
    """Count the words of plain-text documents."""

    documents = Parameter("documents", default=own_documents, type=str, help="Folder with the .txt files to read")
    common = IncludeFile("common", default="common_words.txt", help="Words that are too common to be of interest")
    top = Parameter("top", default=5, help="How many words to list")
    ranks = Parameter("ranks", default=3, help="Size of the gang that sums up")
    full = Parameter("full", default=True, type=bool, help="Report document by document")

    @step
    def start(self):
        self.paths = sorted(str(path) for path in Path(self.documents).glob("*.txt"))
        if not self.paths:
            raise FileNotFoundError(f"no .txt files in {self.documents}")
        print(f"{len(self.paths)} documents")
        self.next(self.count, foreach="paths")

    @retry(times=2, minutes_between_retries=0)
    @step
    def count(self):
        text = Path(self.input).read_text("utf-8").lower()
        self.title = Path(self.input).stem.replace("_", " ")
        self.words = Counter(re.findall(r"[a-z]+(?:'[a-z]+)?", text))
        print(f"{self.title}: {self.words.total()} words")
        self.next(self.gather)

    @step
    def gather(self, inputs):
        self.by_document = {branch.title: branch.words for branch in inputs}
        self.words = sum((branch.words for branch in inputs), Counter())
        self.next(self.frequent, self.shared)

    @step
    def frequent(self):
        common = set(self.common.split())
        interesting = {word: n for word, n in self.words.items() if word not in common}
        self.frequent_words = sorted(interesting.items(), key=lambda item: (-item[1], item[0]))[: self.top]
        self.next(self.compare)

    @step
    def shared(self):
        documents = [set(words) for words in self.by_document.values()]
        self.shared_words = sorted(set.intersection(*documents))
        self.next(self.compare)

    @step
    def compare(self, inputs):
        self.merge_artifacts(inputs)
        self.vocabulary = sorted(self.words)
        self.next(self.measure, num_parallel=self.ranks)

    @parallel
    @step
    def measure(self):
        rank, size = current.parallel.node_index, current.parallel.num_nodes
        mine = self.vocabulary[rank::size]
        self.letters = sum(len(word) * self.words[word] for word in mine)
        self.once = sum(1 for word in mine if self.words[word] == 1)
        print(f"rank {rank} of {size}: {len(mine)} different words")
        self.next(self.total)

    @step
    def total(self, inputs):
        self.merge_artifacts(inputs, exclude=["letters", "once"])
        self.letters = sum(rank.letters for rank in inputs)
        self.once = sum(rank.once for rank in inputs)
        self.style = "table" if self.full else "line"
        self.next({"table": self.table, "line": self.line}, condition="style")

    @step
    def table(self):
        rows = [f"{'document':<20} {'words':>6} {'different':>10}"]
        for title, words in self.by_document.items():
            rows.append(f"{title:<20} {words.total():>6} {len(words):>10}")
        self.report = "\n".join([*rows, f"{'all':<20} {self.words.total():>6} {len(self.words):>10}"])
        self.next(self.end)

    @step
    def line(self):
        self.report = f"{self.words.total()} words, {len(self.words)} different, in {len(self.by_document)} documents"
        self.next(self.end)

    @step
    def end(self):
        print(self.report)
        print(f"most frequent: {', '.join(f'{word} ({n})' for word, n in self.frequent_words)}")
        print(f"in every document: {', '.join(self.shared_words)}")
        print(f"{self.once} words occur once; a word has {self.letters / self.words.total():.2f} letters on average")


if __name__ == "__main__":
    WordCountFlow()
