from stages.rerank.listen.config import SPEC

__all__ = ["SPEC"]
